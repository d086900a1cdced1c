"""FULL_TRANSITIVE: every version of a record reads what every other version wrote, in both directions.

    python -m schemas.compatibility          prints what breaks it, and exits with 1 if anything does

Our records are flat, so Avro's rules of resolution come down to three: same full name; same type of every common field
(a promotion such as int to long works in one direction only); a default for every field that one side lacks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import combinations

from schemas import records
from schemas.records import Record


def breaks(one: Record, other: Record) -> list[str]:
    """Why one version cannot read the other, a line each; empty where both can."""
    where = f"{one.name} v{one.version} and v{other.version}"
    found = []
    names = [f"{r.schema.get('namespace')}.{r.schema['name']}" for r in (one, other)]
    if names[0] != names[1]:
        found.append(f"{where}: the record is called {names[0]} and {names[1]}")
    for name in sorted(one.by_name.keys() | other.by_name.keys()):
        mine, theirs = one.by_name.get(name), other.by_name.get(name)
        if mine is None or theirs is None:
            only = mine or theirs
            if only is not None and only.required:
                found.append(f"{where}: {name} is in one of them only and has no default")
        elif (mine.type, mine.nullable) != (theirs.type, theirs.nullable):
            types = " and ".join(f"{f.type}{' or null' if f.nullable else ''}" for f in (mine, theirs))
            found.append(f"{where}: {name} is {types}")
    return found


def full_transitive(versions: Sequence[Record]) -> list[str]:
    """What breaks the compatibility of all versions of one record with each other."""
    return [line for one, other in combinations(versions, 2) for line in breaks(one, other)]


def main() -> int:
    """Check every record that we ship."""
    lines = [
        line
        for name in records.NAMES
        for line in full_transitive([records.record(name, version) for version in records.versions(name)])
    ]
    print("\n".join(lines) if lines else f"{len(records.NAMES)} records: every version reads every other")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
