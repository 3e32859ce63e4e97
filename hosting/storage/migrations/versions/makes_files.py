"""A prediction knows whether its client makes files of the outputs; of none before is it known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"


def upgrade() -> None:
    """Add the column."""
    column: sa.Column[bool] = sa.Column(
        "makes_files", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("predictions", column)
