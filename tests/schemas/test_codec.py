"""Bytes to records and back: our encoder and decoder against each other and against fastavro."""

import contextlib
import io
import struct
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, decoder, framing, records
from schemas.encoder import Encoder
from schemas.errors import CodecError, RetryableError, UnknownSchema
from tests.schemas.strategies import LONGS, any_row, rows

MINIMAL = {"event_id": "e", "tenant": "t", "event_name": "n", "event_time": 1, "received_time": 2}
EVENT = records.record("claude_event")


def by_fastavro(name: str, value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(records.record(name).plain), value)
    return out.getvalue()


@given(any_row())
@settings(max_examples=300)
def test_decode_of_encode_is_the_record(row: tuple[str, dict[str, Any]]) -> None:
    name, value = row
    assert codec.decode(name, codec.encode(name, value)) == value


@given(any_row())
@settings(max_examples=300)
def test_bytes_are_those_of_fastavro(row: tuple[str, dict[str, Any]]) -> None:
    name, value = row
    assert codec.encode(name, value)[framing.SINGLE_OBJECT_SIZE :] == by_fastavro(name, value)


@given(st.lists(rows(EVENT), max_size=4), st.lists(st.sampled_from([f.name for f in EVENT.fields]), unique=True))
def test_reader_gives_the_wanted_fields_in_their_order(values: list[dict[str, Any]], names: list[str]) -> None:
    messages = [codec.encode("claude_event", value) for value in values]
    assert codec.reader("claude_event", names)(messages) == [tuple(v[n] for n in names) for v in values]


@given(LONGS)
def test_times_of_any_size_are_read(n: int) -> None:
    row = {**MINIMAL, "event_time": n}
    assert codec.reader("claude_event", ["event_time"])([codec.encode("claude_event", row)]) == [(n,)]


def test_a_field_left_out_has_its_default() -> None:
    found = codec.decode("claude_event", codec.encode("claude_event", MINIMAL))
    assert found == {f.name: MINIMAL.get(f.name, f.default) for f in EVENT.fields}


def test_rows_do_not_share_their_maps_and_lists() -> None:
    read = codec.reader("claude_event", ["attributes", "coercion_errors"])
    (a, b), (c, d) = read([codec.encode("claude_event", MINIMAL)] * 2)
    assert a == c == {}
    assert b == d == []
    assert a is not c
    assert b is not d


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration_ms": "56"}, "duration_ms: expected int, got str"),
        ({"duration_ms": True}, "duration_ms: expected int, got bool"),
        ({"duration_ms": 1 << 63}, "64 bits"),
        ({"severity_number": 1 << 31}, "32 bits"),
        ({"session_id": 5}, "session_id: expected str, got int"),
        ({"session_id": "\ud800"}, "surrogates"),
        ({"cost_usd": "1"}, "cost_usd: expected float, got str"),
        ({"success": 1}, "success: expected bool, got int"),
        ({"attributes": {"a": 1}}, "attributes: expected str, got int"),
        ({"coercion_errors": "abc"}, "expected a list of str"),
        ({"event_id": None}, "event_id: expected str, got NoneType"),
        ({"no_such_field": 1}, "no field 'no_such_field'"),
    ],
)
def test_a_value_that_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message) as caught:
        codec.encode("claude_event", {**MINIMAL, **change})
    assert caught.value.reason == "unencodable_record"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(CodecError, match="missing tenant, event_name"):
        codec.encode("claude_event", {"event_id": "e", "event_time": 1, "received_time": 1})


def test_an_unknown_fingerprint_is_named() -> None:
    with pytest.raises(CodecError, match="schema fingerprint 0102030405060708: this release") as caught:
        codec.decode("claude_event", b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08rest")
    assert caught.value.reason == "unknown_schema"


@pytest.mark.parametrize("data", [b"", b"\xc3", b"\xc3\x01abc", b"\x00\x00", b"{}", b"PAR1"])
def test_bytes_without_a_frame_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match="neither a single-object nor a Confluent frame"):
        codec.decode("claude_event", data)


def test_the_bad_message_of_a_chunk_is_told_by_its_index() -> None:
    good = codec.encode("claude_event", MINIMAL)
    with pytest.raises(CodecError) as caught:
        codec.reader("claude_event", ["event_id"])([good, good, good[:11], good])
    assert caught.value.index == 2


@given(any_row(), st.data())
@settings(max_examples=300)
def test_a_message_cut_anywhere_is_refused(row: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    name, value = row
    whole = codec.encode(name, value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CodecError):
        codec.decode(name, whole[:cut])


@given(any_row(), st.data())
@settings(max_examples=500)
def test_damaged_bytes_give_a_record_or_a_codec_error(row: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    name, value = row
    damaged = bytearray(codec.encode(name, value))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(framing.SINGLE_OBJECT_SIZE, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodecError):
        codec.decode(name, bytes(damaged))


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(CodecError, match="wrong length"):
        codec.decode("claude_event", codec.encode("claude_event", MINIMAL) + b"\0")


@pytest.mark.parametrize("count", [1 << 40, -(1 << 40)])
def test_a_huge_count_costs_nothing(count: int) -> None:
    body = b"".join(Encoder(EVENT).base(MINIMAL))  # type: ignore[arg-type]
    maps = body.rstrip(b"\0")
    varint = io.BytesIO()
    fastavro.schemaless_writer(varint, "long", count)
    zeros = len(body) - len(maps) - 4  # The last four fields are the maps.
    with pytest.raises(CodecError):
        codec.decode("claude_event", maps + bytes(zeros) + varint.getvalue() + b"\x02")


def test_map_blocks_with_byte_sizes_are_read() -> None:
    """A negative count is followed by the size of the block; other writers than ours use it."""
    data = codec.encode("claude_event", MINIMAL)[:-1] + b"\x01\x08\x02a\x02b" + b"\x00"
    assert codec.decode("claude_event", data)["resource_attributes_json"] == {"a": "b"}


def test_doubles_keep_their_bits() -> None:
    for bits in (0x7FF0000000000000, 0x8000000000000000, 0x7FF8000000000001):
        value = struct.unpack("<d", struct.pack("<Q", bits))[0]
        found = codec.decode("claude_event", codec.encode("claude_event", {**MINIMAL, "cost_usd": value}))["cost_usd"]
        assert struct.pack("<d", found) == struct.pack("<d", value)


class TestConfluent:
    @pytest.fixture(autouse=True)
    def _registry(self) -> Any:
        older = {
            "type": "record",
            "name": "ClaudeEvent",
            "namespace": "millrace",
            "fields": [
                {"name": "tenant", "type": "string"},
                {"name": "event_id", "type": "string"},
                {"name": "event_name", "type": "string"},
                {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
                {"name": "received_time", "type": "long"},
                {"name": "prompt_length", "type": "int"},
            ],
        }
        other = {**EVENT.schema, "name": "Invoice"}
        codec.use_registry({7: EVENT.schema, 8: older, 9: other, 10: {"type": "recrod"}}.__getitem__)
        yield
        codec.use_registry(None)

    def test_our_own_schema_is_read(self) -> None:
        data = framing.confluent_prefix(7) + by_fastavro("claude_event", MINIMAL)
        assert codec.decode("claude_event", data) == codec.decode("claude_event", codec.encode("claude_event", MINIMAL))

    def test_another_schema_is_resolved_by_name(self) -> None:
        body = b"\x02t\x02e\x02n\x02\x04\x0a"
        found = codec.decode("claude_event", framing.confluent_prefix(8) + body)
        assert (found["tenant"], found["event_id"], found["event_time"], found["prompt_length"]) == ("t", "e", 1, 5)
        assert found["attributes"] == {}

    def test_a_short_body_is_refused(self) -> None:
        with pytest.raises(CodecError):
            codec.decode("claude_event", framing.confluent_prefix(8) + b"\x02t")

    def test_both_frames_may_stand_in_one_chunk(self) -> None:
        read = codec.reader("claude_event", ["event_id"])
        single = codec.encode("claude_event", MINIMAL)
        confluent = framing.confluent_prefix(7) + single[framing.SINGLE_OBJECT_SIZE :]
        assert read([single, confluent, single]) == [("e",)] * 3
        assert read([confluent, single, confluent]) == [("e",)] * 3

    def test_a_later_version_is_read_by_an_earlier_reader(self) -> None:
        """A rolling upgrade: the registry has the schema that this release does not."""
        later = version_two()
        codec.use_registry({7: EVENT.schema, 11: later.schema}.__getitem__)
        new = Encoder(later, framing.confluent_prefix(11)).encode({**MINIMAL, "mood": "fine", "duration_ms": 9})
        old = framing.confluent_prefix(7) + by_fastavro("claude_event", {**MINIMAL, "duration_ms": 8})
        read = codec.reader("claude_event", ["duration_ms", "hook_type"])
        assert read([new, old, new]) == [(9, None), (8, None), (9, None)]

    @pytest.mark.parametrize(
        ("schema_id", "why"),
        [
            (6, "the registry does not have it"),
            (9, "the registry says that it is millrace.Invoice, not millrace.ClaudeEvent"),
            (10, "it is no Avro schema"),
        ],
    )
    def test_an_id_that_is_not_ours_is_named_with_its_topic(self, schema_id: int, why: str) -> None:
        good = codec.encode("claude_event", MINIMAL)
        with pytest.raises(UnknownSchema, match=why) as caught:
            codec.reader("claude_event", ["event_id"])([good, framing.confluent_prefix(schema_id) + good[10:]])
        error = caught.value
        assert (error.topic, error.schema, error.index, error.reason) == ("events", schema_id, 1, "unknown_schema")
        assert str(error).startswith(f"claude_event (topic events): schema id {schema_id}: ")

    def test_a_registry_that_does_not_answer_is_no_fault_of_the_record(self) -> None:
        def away(schema_id: int) -> dict[str, Any]:
            raise RetryableError("the registry does not answer")

        codec.use_registry(away)
        with pytest.raises(RetryableError):
            codec.decode("claude_event", framing.confluent_prefix(7) + b"")

    @given(any_row())
    def test_written_with_an_id_is_confluents_frame(self, row: tuple[str, dict[str, Any]]) -> None:
        name, value = row
        codec.use_registry({7: records.record(name).schema}.__getitem__, {name: 7})
        data = codec.encode(name, value)
        assert data == framing.confluent_prefix(7) + by_fastavro(name, value)
        assert codec.decode(name, data) == value

    def test_what_has_no_id_stays_a_single_object(self) -> None:
        codec.use_registry({}.__getitem__, {"session": 7})
        assert framing.split(codec.encode("claude_event", MINIMAL))[0] == EVENT.fingerprint


def test_a_confluent_frame_without_registry_is_refused() -> None:
    with pytest.raises(CodecError, match=r"schema id 7: no schema registry is set \(MILLRACE_REGISTRY_URL\)"):
        codec.decode("claude_event", framing.confluent_prefix(7) + b"")


def version_two() -> records.Record:
    """A next version as it will come: a field more at the end, one in the middle, one gone."""
    schema = {**EVENT.schema, "fields": [f for f in EVENT.schema["fields"] if f["name"] != "hook_type"]}
    new = {"name": "mood", "type": ["null", "string"], "default": None, "doc": "M.", "otel": [], "class": "usage"}
    late = {"name": "stars", "type": "long", "default": 3, "doc": "S.", "otel": [], "class": "usage"}
    schema["fields"] = [*schema["fields"][:30], new, *schema["fields"][30:], late]
    return records.parse("claude_event", 2, schema)


@given(rows(EVENT))
def test_a_later_version_reads_what_an_earlier_one_wrote(value: dict[str, Any]) -> None:
    later = version_two()
    wanted = [f for f in later.fields if f.name in ("event_id", "mood", "stars", "duration_ms", "attributes")]
    prefix = framing.single_object_prefix(EVENT.fingerprint)
    out: list[Any] = []
    decoder.rows(EVENT, prefix, wanted)([codec.encode("claude_event", value)], out, lambda _: ())
    expected = fastavro.schemaless_reader(
        io.BytesIO(by_fastavro("claude_event", value)),
        fastavro.parse_schema(EVENT.plain),
        fastavro.parse_schema(later.plain),
    )
    assert out == [tuple(expected[f.name] for f in wanted)]


def test_an_earlier_version_reads_what_a_later_one_wrote() -> None:
    later = version_two()
    data = Encoder(later).encode({**MINIMAL, "mood": "fine", "stars": 5, "duration_ms": 9})
    wanted = [EVENT.field(name) for name in ("duration_ms", "hook_type", "received_time")]
    out: list[Any] = []
    decoder.rows(later, framing.single_object_prefix(later.fingerprint), wanted)([data], out, lambda _: ())
    assert out == [(9, None, 2)]


@given(st.lists(any_row(), max_size=3))
def test_arrow_has_the_same_values(found: list[tuple[str, dict[str, Any]]]) -> None:
    for name, value in found:
        batch = codec.arrow(name, [codec.encode(name, value)] * 2)
        assert batch.schema == codec.arrow_schema(name)
        for field in records.record(name).fields:
            column = batch.column(field.name)
            column = column.cast(pa.int64()) if field.type == "timestamp" else column
            got = column.to_pylist()[0]
            assert (dict(got) if field.type.startswith("map") else got) == value[field.name]


def test_arrow_of_no_messages_is_an_empty_batch() -> None:
    batch = codec.arrow("claude_event", [])
    assert batch.num_rows == 0
    assert batch.schema == codec.arrow_schema("claude_event")


def test_arrow_times_are_utc_microseconds() -> None:
    batch = codec.arrow(
        "claude_event", [codec.encode("claude_event", {**MINIMAL, "event_time": 1_795_178_530_595_001})]
    )
    assert batch.column("event_time").type == pa.timestamp("us", tz="UTC")
    assert batch.column("event_time")[0].as_py().isoformat() == "2026-11-20T12:42:10.595001+00:00"
