"""Mutate recorded requests and records for a bounded time, and check what becomes of each.

    python -m tests.fuzz [--seconds 30] [--seed N]

Inputs that end in a new way become seeds themselves. A find is written to tests/fuzz/cases, where a unit test replays
it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from random import Random

from tests.fuzz.case import Case, kept
from tests.fuzz.check import check_bounded
from tests.fuzz.mutate import mutate_bytes, mutate_json
from tests.fuzz.seeds import seeds

_LARGEST = 100_000
_FINDS = 10
#: How often each is drawn: the codec is a hundred times as fast.
TARGETS = ("json", "json", "json", "protobuf", "protobuf", "codec")


def fuzz(random: Random, *, until: float | None = None, count: int | None = None) -> tuple[Counter[str], list[Case]]:
    """Inputs by target, and the finds. Ends at a time (of time.monotonic), after so many inputs, or after ten finds."""
    start = seeds() + kept()
    pools = {target: [case for case in start if case.target == target] for target in TARGETS}
    seen = {(case.target, case.what, check_bounded(case)) for case in start}
    done: Counter[str] = Counter()
    finds: list[Case] = []
    while (
        len(finds) < _FINDS and (until is None or time.monotonic() < until) and (count is None or done.total() < count)
    ):
        group = pools[random.choice(TARGETS)]
        case, other = random.choice(group), random.choice(group)
        change = mutate_json if case.target == "json" and random.random() < 0.7 else mutate_bytes
        mutant = case._replace(body=change(random, case.body, other.body)[:_LARGEST])
        done[case.target] += 1
        try:
            outcome = check_bounded(mutant)
        except Exception:
            finds.append(mutant)
            print(f"find: {mutant.file_name}\n{traceback.format_exc(limit=-4)}", file=sys.stderr)
            continue
        key = (case.target, case.what, outcome)
        if key not in seen:
            seen.add(key)
            group.append(mutant)
    return done, finds


def main() -> int:
    """Run for a bounded time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    done, finds = fuzz(Random(arguments.seed), until=time.monotonic() + arguments.seconds)
    for case in finds:
        print(f"kept as {case.keep()}")
    counts = ", ".join(f"{count:,} {target}" for target, count in sorted(done.items()))
    print(f"fuzz: seed {arguments.seed}: {counts} inputs in {arguments.seconds:g} s, {len(finds)} finds")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
