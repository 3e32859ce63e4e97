"""A prediction that failed knows why, by a word."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Add the column, filled as well as the sentences allow that were written until now."""
    op.add_column("predictions", sa.Column("failure", sa.String()))
    op.execute(
        "UPDATE predictions SET failure = CASE "
        "WHEN error LIKE 'The worker died whenever %' THEN 'worker' "
        "WHEN error LIKE 'NSFW %' THEN 'nsfw' "
        "WHEN error LIKE 'The files of its inputs are gone%' THEN 'internal' "
        "ELSE 'inputs' END WHERE status = 'failed'"
    )
