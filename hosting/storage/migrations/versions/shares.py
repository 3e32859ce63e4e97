"""Predictions can be shared by links, which end by themselves or are revoked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "11"
down_revision = "10"


def upgrade() -> None:
    """Add the table; what is in it goes with its prediction."""
    op.create_table(
        "shares",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column(
            "prediction_id",
            sa.String(),
            sa.ForeignKey("predictions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
    )
    op.create_index("ix_shares_prediction_id", "shares", ["prediction_id"])
