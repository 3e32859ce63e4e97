"""A prediction knows by which API it was asked for: all before this, by Replicate's or Cog's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add the column."""
    column = sa.Column("api", sa.String(), nullable=False, server_default="replicate")
    op.add_column("predictions", column)
