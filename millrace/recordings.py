"""Recorded OTLP requests in files: the bodies, and of which signal each is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import orjson

from millrace.errors import RecordingFault
from schemas.otlp import JSON, PROTOBUF, Signal

SIGNALS: tuple[Signal, ...] = get_args(Signal)
_JSON_FILES = (".json", ".jsonl", ".ndjson")
_MEMBERS: dict[str, Signal] = {
    "resourceLogs": "logs",
    "resource_logs": "logs",
    "resourceMetrics": "metrics",
    "resource_metrics": "metrics",
    "resourceSpans": "traces",
    "resource_spans": "traces",
}


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded request.  name: of its file.  content_type: otlp.PROTOBUF or otlp.JSON."""

    name: str
    signal: Signal
    content_type: str
    body: bytes


def recordings(paths: Sequence[Path], signal: Signal | None = None) -> Iterator[Recording]:
    """The requests in `.json` and `.pb` files, and in folders of them, named as tests/captures names them.

    Args, Raises: as `read`; RecordingFault for a file of another kind, too.
    """
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in (".json", ".pb") and not file.name.endswith(".meta.json"):
                yield from read(file, signal)
            elif file is path:
                raise RecordingFault(f"{file} is no recorded request", "give an OTLP/JSON file (.json) or a .pb")


def read(file: Path, signal: Signal | None = None) -> Iterator[Recording]:
    """The requests of one file: OTLP/JSON in a .json, .jsonl or .ndjson (one, or one a line), else protobuf.

    Args:   signal: of a body that does not say its own.
    Raises: RecordingFault: no JSON, or of no signal.
    """
    body = file.read_bytes()
    if file.suffix not in _JSON_FILES:
        yield Recording(str(file), _known(file, _named(file) or signal), PROTOBUF, body)
        return
    lines = [line for line in body.splitlines() if line.strip()]
    for each in lines if len(lines) > 1 and all(map(_is_json, lines)) else [body]:
        try:
            members = orjson.loads(each)
        except orjson.JSONDecodeError as error:
            raise RecordingFault(
                f"{file} is no JSON ({error})", "one OTLP/JSON request a file, or one a line"
            ) from None
        yield Recording(str(file), _known(file, _told(members) or signal), JSON, each)


def _named(file: Path) -> Signal | None:
    """The signal in a file's name: as a part of it, else anywhere."""
    parts = file.stem.split("-")
    return next((s for s in SIGNALS if s in parts), None) or next((s for s in SIGNALS if s in file.name), None)


def _told(members: Any) -> Signal | None:
    return next((_MEMBERS[name] for name in members if name in _MEMBERS), None) if isinstance(members, dict) else None


def _known(file: Path, signal: Signal | None) -> Signal:
    if signal is None:
        cause = f"{file} is no OTLP request that can be told: it does not say its signal"
        raise RecordingFault(cause, f"add --signal {'|'.join(SIGNALS)}")
    return signal


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
