"""A prediction knows the trace of the request that asked for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "15"
down_revision = "14"


def upgrade() -> None:
    """Add the column; those of before are in no trace."""
    op.add_column("predictions", sa.Column("traceparent", sa.String()))
