"""A prediction knows how large its input files are, which count in its token's quota."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"

COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column; what is there already is not counted, and goes when its time is over."""
    op.add_column(
        "predictions", sa.Column("input_bytes", COUNT, nullable=False, server_default="0")
    )
    where = sa.text("input_bytes > 0")
    op.create_index(
        "with_inputs",
        "predictions",
        ["token_id", "input_bytes"],
        sqlite_where=where,
        postgresql_where=where,
    )
