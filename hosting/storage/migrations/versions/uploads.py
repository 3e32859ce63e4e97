"""Uploads have a number, by which they are listed in pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KEPT = "id, token_id, name, content_type, size, sha256, details, created_at, expires_at"


def upgrade() -> None:
    """Add a number by age, in a new table: SQLite can't change a table's key."""
    op.rename_table("uploads", "uploads_without_number")
    op.create_table(
        "uploads",
        sa.Column("number", COUNT, nullable=False),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("size", COUNT, nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="uploads_number"),
    )
    op.create_index("uploads_of_token", "uploads", ["token_id", "number"])
    op.execute(
        f"INSERT INTO uploads ({KEPT}) SELECT {KEPT} FROM uploads_without_number "
        "ORDER BY created_at, id"
    )
    op.drop_table("uploads_without_number")
