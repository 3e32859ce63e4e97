"""A database of any age is brought to what `tables.py` has, by the steps in `migrations/`.

A change of the tables needs a step; the tests hold the steps to the tables.
"""

from __future__ import annotations

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect, text
from sqlalchemy.engine import Connection, Engine

STEPS = Path(__file__).parent / "migrations"
LOCK = 5_283_914
"""The advisory lock of fronts that start together; a number of nobody else's, hopefully."""


class UnknownTables(Exception):
    """The tables are of another version of the code. The message goes on after the database."""


def migrate(engine: Engine, models: MetaData) -> None:
    """Make the tables, or bring them up to date: all of it, or nothing.

    Args:
        models: the tables as the code has them.

    Raises:
        UnknownTables: when the code does not know how.
    """
    steps = ScriptDirectory(str(STEPS))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # with SQLite, nobody else writes anyway
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        context = MigrationContext.configure(connection)
        at = context.get_current_revision() or _before_steps(connection)
        if at not in {None, *(step.revision for step in steps.walk_revisions())}:
            raise UnknownTables("was made by a newer version of this project; get that")
        if at != steps.get_current_head():
            with Operations.context(context):
                for step in reversed(list(steps.iterate_revisions("head", at or "base"))):
                    step.module.upgrade()
            context.stamp(steps, "head")
        _check(connection, models)


def _before_steps(connection: Connection) -> str | None:
    """Return the step that a database from before the steps is at; None for an empty one."""
    inspector = inspect(connection)
    if not inspector.has_table("predictions"):
        return None
    columns = {column["name"] for column in inspector.get_columns("uploads")}
    return "2" if "number" in columns else "1"


def _check(connection: Connection, models: MetaData) -> None:
    """Raise UnknownTables where the steps have led to other tables than the code's."""
    inspector = inspect(connection)
    for table in models.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        if there != set(table.columns.keys()):
            raise UnknownTables(
                "was made by another version of this project: "
                f"its table {table.name} differs. Give another, or move it away"
            )
