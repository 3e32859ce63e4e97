"""Sends the hostile requests of tools/attacks to a front, and says what it made of them."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack

from tools.attacks import requests, sending
from tools.attacks.sending import NOTHING, Answer
from tools.fake_cog import CogServer
from tools.stress import Front, running


def main() -> int:
    """Attack a front; return 1 when it answered anything by 500 or above, or not at all."""
    options = _parser().parse_args()
    with ExitStack() as stack:
        front: Front | None = None
        if not options.url:
            front = stack.enter_context(running([CogServer()]))
        target = sending.target(front.url if front else options.url, options.token)
        before = front.memory() if front else 0.0
        answers = sending.send_all(target.host, requests.attacks(target))
        for kind in sorted({answer.attack.kind for answer in answers}):
            _print(kind, [answer for answer in answers if answer.attack.kind == kind])
        if front:
            after = front.memory()
            print(f"memory of the front: {before:.1f} MiB before, {after:.1f} MiB after")
    wrong = [one for one in answers if one.status >= 500 or one.status == NOTHING]
    for answer in wrong[:50]:
        print(f"WRONG: {answer.status} to {answer.attack}", file=sys.stderr)
    return 1 if wrong else 0


def _print(kind: str, answers: list[Answer]) -> None:
    statuses = Counter(answer.status for answer in answers)
    counts = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    slowest = max(answers, key=lambda answer: answer.seconds)
    wrong = sum(count for status, count in statuses.items() if status >= 500 or status == NOTHING)
    print(
        f"{kind}: {len(answers)} requests, {wrong} of them answered by 500 and above or not at all"
    )
    print(f"  by status (0: hung up): {counts}")
    print(f"  slowest {slowest.seconds:.2f} s: {slowest.attack.operation}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/attack",
        description="Sends some 12,000 hostile requests to every operation of a front, and says by "
        "kind how they were answered. Some 500 are predictions that are drawn.",
    )
    parser.add_argument(
        "url", nargs="?", help="of a front that you may attack; without, one is started for it"
    )
    parser.add_argument("--token", default="", help="of that front, better one for this alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
