"""Tokens have weights and limits, and the queue of each task knows how far it has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "13"
down_revision = "12"

COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns and tables, and what a turn goes by to the index of a token's predictions."""
    op.drop_index("of_token_by_status", "predictions")
    by_flow = ["token_id", "status", "task", "priority", "turn", "cost"]
    op.create_index("of_token_by_status", "predictions", by_flow)
    op.add_column("tokens", sa.Column("weight", sa.Double(), nullable=False, server_default="1"))
    op.add_column("tokens", sa.Column("limits", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "queues",
        sa.Column("task", sa.String(), primary_key=True),
        sa.Column("turn", sa.Double(), nullable=False),
    )
    op.create_table(
        "flows",
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), primary_key=True),
        sa.Column("task", sa.String(), primary_key=True),
        sa.Column("priority", sa.String(), primary_key=True),
        sa.Column("turn", sa.Double(), nullable=False),
    )
    op.create_table(
        "spendings",
        sa.Column("number", COUNT, primary_key=True, autoincrement=True),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), nullable=False),
        sa.Column("prediction_id", sa.String(), nullable=False, unique=True),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("spent_at", sa.Double(), nullable=False),
    )
    op.create_index("spendings_of_token", "spendings", ["token_id", "spent_at"])
