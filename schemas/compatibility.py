"""FULL_TRANSITIVE: every version of a record reads what every other version wrote, in both directions.

    python -m schemas.compatibility          prints what breaks it, and exits with 1 if anything does
    python -m schemas.compatibility release  also adds what is new to released.txt: a step of every release

Our records are flat, so Avro's rules of resolution come down to three: same full name; same type of every common field
(a promotion such as int to long works in one direction only); a default for every field that one side lacks.

Within a version: a name for one field only, and a default of the type of its field (of the first, where there are two).

A version that is in released.txt has been written by somebody's gateway and stands on somebody's disk: its names,
types, order and defaults never change again, and it stays. Descriptions, classes and wire attributes may be mended.
What a tagged release (v*) had in released.txt stays in it, and is not nothing; where there is no git, nobody can tell.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import fastavro

from schemas import records
from schemas.records import Record

RELEASED = records.FOLDER / "released.txt"
_HEAD = """\
# Every released version of every record: name, version, SHA-256 of its contract (names, types, order, defaults).
# Written by: python -m schemas.compatibility release
"""


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


def flaws(record: Record) -> list[str]:
    """What is wrong with one version by itself, a line each."""
    where, lines, seen = f"{record.name} v{record.version}", [], set()
    for field in record.plain["fields"]:
        name, kind = field["name"], field["type"]
        if name in seen:
            lines.append(f"{where}: {name} is there twice")
        seen.add(name)
        first = kind[0] if isinstance(kind, list) else kind
        if "default" in field and not fastavro.validate(field["default"], first, raise_errors=False, strict=True):
            lines.append(f"{where}: the default of {name}, {json.dumps(field['default'])}, is no {json.dumps(first)}")
    return lines


def contract(record: Record) -> str:
    """SHA-256 over all that bytes depend on, in hex.

    More than the fingerprint: that leaves out defaults, which a reader fills in, and logical types.
    """
    fields = [{key: f[key] for key in ("name", "type", "default") if key in f} for f in record.schema["fields"]]
    whole = [record.schema["namespace"], record.schema["name"], fields]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def released(text: str) -> dict[tuple[str, int], str]:
    """(record, version) → contract, as released.txt says. Raises: ValueError: a line that is none."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, version, digest = line.split()
            found[name, int(version)] = digest
    return found


def check(shipped: Mapping[str, Mapping[int, Record]], frozen: Mapping[tuple[str, int], str]) -> list[str]:
    """What is wrong with the schemas, a line each.

    Args:    shipped: as records.load gives them.  frozen: as `released` gives it.
    """
    lines = []
    for (name, version), digest in frozen.items():
        record = shipped.get(name, {}).get(version)
        if record is None:
            lines.append(f"{name} v{version} was released and is gone: put it back")
        elif contract(record) != digest:
            lines.append(f"{name} v{version} was released and has changed: put it back, and make v{version + 1}")
    for of_record in shipped.values():
        for version in sorted(of_record):
            lines += flaws(of_record[version])
        lines += full_transitive([of_record[version] for version in sorted(of_record)])
    return lines


def release(shipped: Iterable[Record], frozen: Mapping[tuple[str, int], str]) -> str:
    """The text of released.txt with every shipped version in it; what was in it stays as it is."""
    whole = {**{(r.name, r.version): contract(r) for r in shipped}, **frozen}
    return _HEAD + "".join(f"{name} {version} {digest}\n" for (name, version), digest in sorted(whole.items()))


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it says nothing: no git, no repository, no such file."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def tagged(file: Path) -> dict[str, dict[tuple[str, int], str]]:
    """Tag of a release → what it had in released.txt; nothing where there is no git."""
    tags = (_git(file.parent, "tag", "--list", "v*") or "").split()
    return {tag: released(_git(file.parent, "show", f"{tag}:./{file.name}") or "") for tag in tags}


def lost(
    frozen: Mapping[tuple[str, int], str], by_tag: Mapping[str, Mapping[tuple[str, int], str]], *, releasing: bool
) -> list[str]:
    """What a tagged release had, or must have had, and released.txt has not, a line each."""
    lines = [
        f"{name} v{version} was released with {tag} and is not so in {RELEASED.name}: put its line back"
        for tag, had in by_tag.items()
        for (name, version), digest in had.items()
        if frozen.get((name, version)) != digest
    ]
    if by_tag and not frozen and not releasing:
        lines.append(
            f"{max(by_tag)} is tagged and {RELEASED.name} is empty: run python -m schemas.compatibility release"
        )
    return lines


def main(arguments: Sequence[str] = (), *, folder: Path = records.FOLDER, file: Path = RELEASED) -> int:
    """Check every record that we ship, and write the release if that is asked for and all is well."""
    releasing = list(arguments) == ["release"]
    try:
        shipped, frozen = records.load(folder), released(file.read_text())
    except ValueError as error:
        print(error)
        return 1
    lines = [*check(shipped, frozen), *lost(frozen, tagged(file), releasing=releasing)]
    if lines:
        print("\n".join(lines))
        return 1
    every = [record for versions in shipped.values() for record in versions.values()]
    if releasing:
        file.write_text(release(every, frozen))
        print(f"{len(every) - len(frozen)} released now, {len(frozen)} were before")
    else:
        print(f"{len(shipped)} records: every version reads every other; {len(frozen)} versions are released")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
