"""Several fronts share the database, and what one does is known to be its."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add the table of the fronts, and who has what."""
    op.create_table(
        "fronts",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("seen_at", sa.Double(), nullable=False),
    )
    op.add_column("predictions", sa.Column("front_id", sa.String()))
    attempt = sa.Column("attempt", sa.Integer(), nullable=False, server_default="0")
    op.add_column("predictions", attempt)
    op.add_column("deliveries", sa.Column("front_id", sa.String()))
