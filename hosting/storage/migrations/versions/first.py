"""The tables as they were before there were steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("hash", sa.String(), unique=True),
        sa.Column("webhook_secret", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double()),
    )
    op.create_table(
        "predictions",
        sa.Column("number", COUNT, primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), nullable=False),
        sa.Column("given_id", sa.String()),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("canceling", sa.Boolean(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("output", sa.JSON(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("logs", sa.String(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double()),
        sa.Column("completed_at", sa.Double()),
        sa.Column("webhook", sa.String()),
        sa.Column("webhook_events", sa.JSON(), nullable=False),
    )
    op.create_index("queue", "predictions", ["status", "number"])
    op.create_index("of_token", "predictions", ["token_id", "number"])
    op.create_index("given", "predictions", ["token_id", "given_id"], unique=True)
    op.create_index("of_model", "predictions", ["model"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("size", COUNT, nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("number", COUNT, primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("prediction_id", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("seen", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_deliveries_prediction_id", "deliveries", ["prediction_id"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
