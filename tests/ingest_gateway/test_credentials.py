"""Who is let in: the key decides, and nothing else in the request."""

from __future__ import annotations

import pytest

from ingest_gateway.credentials import Credentials, Sender
from ingest_gateway.errors import Busy, Refused
from schemas.keys import KeyRecord, key_hash, new_key

KEYS = {kind: new_key(kind) for kind in ("ingest", "query", "admin")}
RECORDS = {
    text: KeyRecord(key_id, kind, None if kind == "admin" else "acme", key_hash(text), "test")
    for kind, (text, key_id) in KEYS.items()
}
INGEST, QUERY, ADMIN = (text for text, _ in KEYS.values())
INGEST_ID = KEYS["ingest"][1]


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [(f"Bearer {INGEST}", ""), (f"bearer   {INGEST} ", ""), ("", INGEST), (f"Bearer {INGEST}", "ignored")],
    ids=["bearer", "any case", "header", "both"],  # a key is another one in each process
)
def test_an_ingest_key_gives_its_tenant_and_its_id(authorization: str, api_key: str) -> None:
    assert Credentials(RECORDS.get, lambda: True).sender(authorization, api_key) == Sender("acme", INGEST_ID)


@pytest.mark.parametrize(
    ("authorization", "api_key", "reason"),
    [
        ("", "", "no_key"),
        ("Bearer", "", "no_key"),
        ("Bearer ", "", "no_key"),
        (f"Basic {INGEST}", "", "no_key"),
        (INGEST, "", "no_key"),
        ("Bearer unknown", INGEST, "wrong_key"),
        ("", "unknown", "wrong_key"),
        (f"Bearer {QUERY}", "", "not_an_ingest_key"),
        ("", ADMIN, "not_an_ingest_key"),
    ],
    ids=["none", "word", "word and space", "basic", "bare", "unknown", "unknown header", "query key", "admin key"],
)
def test_nothing_else_does(authorization: str, api_key: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        Credentials(RECORDS.get, lambda: True).sender(authorization, api_key)
    assert refused.value.reason == reason


def test_before_the_keys_are_known_nobody_is_called_a_stranger() -> None:
    with pytest.raises(Busy):
        Credentials(RECORDS.get, lambda: False).sender("Bearer unknown", "")
