"""Predictions can be asked for together, as a batch; uploads are for what OpenAI's API calls so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "14"
down_revision = "13"


def upgrade() -> None:
    """Add the table, and the columns that lead to it."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "batches",
        sa.Column("number", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), nullable=False),
        sa.Column("given_id", sa.String()),
        sa.Column("requests", sa.JSON(), nullable=False),
        sa.Column("endpoint", sa.String()),
        sa.Column("input_file_id", sa.String()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("canceled_at", sa.Double()),
    )
    op.create_index("batches_of_token", "batches", ["token_id", "number"])
    op.create_index("given_batch", "batches", ["token_id", "given_id"], unique=True)
    op.add_column("predictions", sa.Column("batch_id", sa.String()))
    op.create_index("of_batch", "predictions", ["batch_id"])
    op.add_column("uploads", sa.Column("purpose", sa.String()))
