"""What must hold of every input. Anything else that happens is a find."""

from __future__ import annotations

import re
import resource
import time

import orjson
from google.protobuf.json_format import ParseError

from schemas import codec, otlp
from schemas.errors import CodecError, OtlpError
from schemas.otlp.values import canonical
from schemas.topics import CATALOGUE
from tests.fuzz.case import Case
from tests.schemas.otlp.requests import CONTEXT, as_protobuf

#: Of a body below 100 KB. A hundred times what the slowest takes on an idle core.
CPU_S = 5.0
MEMORY_KB = 256 << 10
_TYPES = {"json": otlp.JSON, "protobuf": otlp.PROTOBUF}
_REASONS = {"malformed_record", "invalid_id", "too_large"}
_REFUSALS = {"malformed_json", "malformed_protobuf", "too_deep", "too_many_records", "too_large"}


class Find(AssertionError):
    """An input that breaks a rule."""


def check(case: Case) -> str:
    """How the input ended, in one word or line. Raises: Find, or whatever escapes."""
    return _codec(case) if case.target == "codec" else _request(case)


def check_bounded(case: Case) -> str:
    """The same, with its CPU time and memory bounded as well."""
    before_kb, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    outcome = check(case)
    if (took := time.process_time() - start) > CPU_S:
        raise Find(f"{took:.1f} s of CPU, at most {CPU_S}")
    if (grown := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) > MEMORY_KB:
        raise Find(f"{grown} KB of memory, at most {MEMORY_KB}")
    return outcome


def _codec(case: Case) -> str:
    try:
        found = codec.decode(case.what, case.body)
    except CodecError as error:
        return _kind(str(error))
    again = codec.decode(case.what, codec.encode(case.what, found))
    if canonical(again) != canonical(found):
        raise Find("a record that was read is another one when it is written and read again")
    return "read"


def _request(case: Case) -> str:
    outcome = _transcoded(case.what, _TYPES[case.target], case.body)
    # The official classes take less than routers send, and now and then more ([] for a message that is not set).
    if case.target == "json" and not outcome.startswith("refused") and '["malformed_record",' not in outcome:
        try:
            body = as_protobuf(case.what, orjson.loads(case.body))
        except (ParseError, ValueError, TypeError, AttributeError, RecursionError):
            return "json only"
        other = _transcoded(case.what, otlp.PROTOBUF, body)
        if other != outcome:
            at = next((i for i, (a, b) in enumerate(zip(outcome, other, strict=False)) if a != b), 0)
            raise Find(f"JSON and protobuf differ: {outcome[at - 80 : at + 80]!r}, {other[at - 80 : at + 80]!r}")
    return _kind(outcome)


def _transcoded(signal: str, content_type: str, body: bytes) -> str:
    """The records of the request as canonical JSON, or why it is refused."""
    try:
        decoded = otlp.transcode(signal, content_type, body, CONTEXT)  # type: ignore[arg-type]
    except OtlpError as error:
        if error.reason not in _REFUSALS:
            raise Find(f"refused as {error.reason}") from error
        return f"refused: {error.reason}"
    for rejection in decoded.rejections:
        if rejection.reason not in _REASONS:
            raise Find(f"rejected as {rejection.reason}")
        otlp.rejected_message(rejection, CONTEXT, "gateway")
    rows = [
        [codec.decode(CATALOGUE[message.topic].record, message.value) for message in entry.messages]
        for entry in decoded.entries
    ]
    return canonical([rows, [[r.reason, r.error] for r in decoded.rejections]])


def _kind(outcome: str) -> str:
    """What the outcome is like: the same for inputs that take the same way."""
    if outcome.startswith("[["):
        errors = re.findall(r'"coercion_errors":\[("[^]]*)\]|"pipeline_error":"([^"]*)', outcome)
        outcome = f"read, {len(errors)} flags, {outcome.count('<content>')} marks, {outcome.rpartition(']],[')[2]}"
    return re.sub(r"\d+|'[^']*'", "#", outcome)[:120]
