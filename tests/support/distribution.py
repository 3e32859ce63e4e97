"""Which tests run in the same process, where several processes share the work."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

RAY = "Ray"


class ByWhatIsShared(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process groups of tests, one after another.

    xdist's own groups, by a mark, are lost on this version of pytest: each test is a group there.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The group of a test: those of a file share what its module starts.

    There is one Ray cluster at a time, and one front for all clients of the acceptance tests. What
    a file does on both databases is two groups.
    """
    file, _, name = nodeid.partition("::")
    parameters = name.partition("[")[2]
    if file.startswith("tests/acceptance/"):
        if "cluster" in nodeid:
            return RAY
        return "front" if "a server of its own" in parameters else file
    databases = [database for database in ("sqlite", "postgresql") if database in parameters]
    return " ".join([file, *databases])
