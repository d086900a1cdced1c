"""Half a surrogate pair: a client that cuts text by UTF-16 units sends it, and nothing else may be lost for it."""

import pytest

from schemas import otlp
from schemas.errors import OtlpError
from tests.schemas.otlp.requests import CONTEXT, TIME_NS, as_json, as_protobuf, event, log, logs, records_of

HIGH, LOW = b"\\ud83d", b"\\ude00"


def from_json(escape: bytes) -> dict[str, object]:
    body = as_json(logs(log({"event.name": "x", "cut": "MARK"}), log({"event.name": "y"}))).replace(b"MARK", escape)
    found = otlp.transcode("logs", otlp.JSON, body, CONTEXT)
    assert len(found.entries) == 2
    return records_of(found.entries[0])[0]["attributes"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("escape", "expected"),
    [
        (b"a" + HIGH, "a\ufffd"),
        (LOW + b"a", "\ufffda"),
        (HIGH + HIGH + LOW, "\ufffd\U0001f600"),
        (LOW + HIGH, "\ufffd\ufffd"),
        (HIGH + LOW + HIGH, "\U0001f600\ufffd"),
        (b"\\\\ud83d" + HIGH, "\\ud83d\ufffd"),
        (b'\\"' + HIGH, '"\ufffd'),
        (b"\\uD83D", "\ufffd"),
    ],
)
def test_json(escape: bytes, expected: str) -> None:
    assert from_json(escape) == {"cut": expected}


def test_whole_pairs_and_escaped_backslashes_are_left_alone() -> None:
    assert from_json(HIGH + LOW) == {"cut": "\U0001f600"}
    assert from_json(b"\\\\ud83d") == {"cut": "\\ud83d"}


def test_protobuf() -> None:
    """ED A0 BD is half a pair in a string; in a time it is only bytes."""
    time = int.from_bytes(b"\x00\xed\xa0\xbd\x00\x00\x00\x18", "little")
    body = as_protobuf("logs", logs(log({"cut": "aMMM"}, timeUnixNano=str(time)), log({"b": b"\xed\xa0\xbd"})))
    found = otlp.transcode("logs", otlp.PROTOBUF, body.replace(b"aMMM", b"a\xed\xa0\xbd"), CONTEXT)
    first, second = (records_of(entry)[0] for entry in found.entries)
    assert first["attributes"] == {"cut": "a\ufffd"}
    assert first["event_time"] == time // 1000
    assert second["attributes_json"] == event({"b": b"\xed\xa0\xbd"})["attributes_json"]


def test_both_transports_mend_alike() -> None:
    document = logs(log({"event.name": "x", "cut": "aMMM"}))
    protobuf = as_protobuf("logs", document).replace(b"aMMM", b"a\xed\xa0\xbd")
    json = as_json(document).replace(b"aMMM", b"a" + HIGH)
    assert (
        otlp.transcode("logs", otlp.PROTOBUF, protobuf, CONTEXT).entries
        == otlp.transcode("logs", otlp.JSON, json, CONTEXT).entries
    )


@pytest.mark.parametrize("signal", ["metrics", "traces"])
def test_every_signal_is_mended(signal: otlp.Signal) -> None:
    attribute = b"\x0a\x01k\x12\x05\x0a\x03\xed\xa0\xbd"  # key k, value string
    resource = b"\x0a" + bytes([len(attribute)]) + attribute
    outer = b"\x0a" + bytes([len(resource)]) + resource
    otlp.transcode(signal, otlp.PROTOBUF, b"\x0a" + bytes([len(outer)]) + outer, CONTEXT)


@pytest.mark.parametrize("junk", [b"\xff\xfe\xfd\xfc", b"\xed\xa0\xff\xff"])
def test_other_invalid_text_is_refused(junk: bytes) -> None:
    body = as_protobuf("logs", logs(log({"cut": "MMMM"}, timeUnixNano=str(TIME_NS)))).replace(b"MMMM", junk)
    with pytest.raises(OtlpError) as caught:
        otlp.transcode("logs", otlp.PROTOBUF, body, CONTEXT)
    assert caught.value.reason == "malformed_protobuf"
