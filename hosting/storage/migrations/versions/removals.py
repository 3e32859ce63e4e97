"""A prediction that was removed is known until its files are gone, and all fronts have seen it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "10"
down_revision = "9"

COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "removals",
        sa.Column("number", COUNT, primary_key=True),
        sa.Column("prediction_id", sa.String(), nullable=False, unique=True),
        sa.Column("given_id", sa.String()),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), nullable=False),
        sa.Column("front_id", sa.String()),
        sa.Column("has_files", sa.Boolean(), nullable=False),
        sa.Column("removed_at", sa.Double(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("removals_of_token", "removals", ["token_id", "number"])
