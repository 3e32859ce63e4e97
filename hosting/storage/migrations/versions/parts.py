"""A prediction has a checkpoint between its parts, and may have a deadline."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"


def upgrade() -> None:
    """Add the columns."""
    checkpoint = sa.Column("checkpoint", sa.JSON(), nullable=False, server_default="{}")
    op.add_column("predictions", checkpoint)
    begun: sa.Column[bool] = sa.Column(
        "has_begun", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("predictions", begun)
    op.add_column("predictions", sa.Column("deadline", sa.Double(), nullable=True))
