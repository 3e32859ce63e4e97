"""Predictions have a cost, a turn and a priority; old ones keep their order, all interactive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "12"
down_revision = "11"


def upgrade() -> None:
    """Add the columns, and the turn to the index of the queue."""
    priority = sa.Column("priority", sa.String(), nullable=False, server_default="interactive")
    op.add_column("predictions", priority)
    for name in ("cost", "turn"):
        column: sa.Column[float] = sa.Column(name, sa.Double(), nullable=False, server_default="0")
        op.add_column("predictions", column)
    op.drop_index("queue", "predictions")
    op.create_index("queue", "predictions", ["status", "task", "turn", "number"])
