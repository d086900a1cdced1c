"""API keys."""

import pytest

from schemas import codec, keys
from schemas.errors import CodecError, KeyFormatError


def stored(kind: keys.Kind = "ingest", *, deleted: bool = False) -> tuple[str, keys.KeyRecord]:
    key, key_id = keys.new_key(kind)
    return key, keys.KeyRecord(key_id, kind, "acme", keys.key_hash(key), "laptop", deleted)


@pytest.mark.parametrize("kind", keys.KINDS)
def test_a_new_key_tells_its_kind_and_id(kind: keys.Kind) -> None:
    key, key_id = keys.new_key(kind)
    assert keys.parse_key(key) == keys.ParsedKey(kind, key_id)


def test_new_keys_differ() -> None:
    assert len({keys.new_key("query")[0] for _ in range(100)}) == 100


def test_only_the_same_key_verifies() -> None:
    key, record = stored()
    assert record.verify(key)
    assert not record.verify(key[:-1] + ("0" if key[-1] != "0" else "1"))
    assert not record.verify(stored()[0])
    assert not record.verify("")
    assert not record.verify("\udcff")


def test_a_deleted_key_does_not_verify() -> None:
    key, record = stored(deleted=True)
    assert not record.verify(key)


@pytest.mark.parametrize(
    "text", ["", "mlr_", "mlr_root_0123456789abcdef_" + "0" * 64, "mlr_ingest_0123456789abcdef_" + "0" * 63, "é" * 99]
)
def test_text_that_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.parse_key(text)
    assert caught.value.reason == "malformed_key"
    assert len(text) < 20 or text not in str(caught.value)


def test_the_control_record_has_the_hash_and_not_the_key() -> None:
    key, record = stored("query")
    value = keys.control_value(record, updated_at=5, updated_by="admin")
    data = codec.encode("control", value)
    assert key.rpartition("_")[2].encode() not in data
    assert keys.from_control(codec.decode("control", data)) == record


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"hash": 5, "key_kind": "ingest", "name": "x"}'])
def test_a_malformed_control_record_is_refused(body: str) -> None:
    value = {"kind": "key", "id": "a", "tenant": "t", "body": body, "deleted": False}
    with pytest.raises(CodecError):
        keys.from_control(value)


@pytest.mark.parametrize(("tenant", "valid"), [("local", True), ("a.b-c_1", True), ("", False), ("a\x1fb", False)])
def test_tenant_names(tenant: str, valid: bool) -> None:
    assert keys.valid_tenant(tenant) is valid
    assert not keys.valid_tenant("-x")
    assert not keys.valid_tenant("x" * 65)
