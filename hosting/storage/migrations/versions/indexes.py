"""No request about a prediction looks at all of those that are over."""

from __future__ import annotations

from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add an index by token and status, and the task to that of the queue."""
    op.create_index("of_token_by_status", "predictions", ["token_id", "status"])
    op.drop_index("queue", "predictions")
    op.create_index("queue", "predictions", ["status", "task", "number"])
