"""Runs Cog's server so that it ends with the process that started it, however that ends.

Run as `python -m hosting.backends.parent_death PARENT ...`, where the arguments from the second on
are those of `cog.server.http`. The worker ends by itself when Cog's server does. Only Linux has the
signal.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def main() -> None:
    """Set the parent-death signal, and become Cog's server."""
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before the leash was on
            sys.exit(1)
    runpy.run_module("cog.server.http", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
