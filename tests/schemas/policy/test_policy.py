"""A policy that makes no sense is refused with a line that says what, where and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas import codec, policy, records
from schemas.policy import INDISPENSABLE, HashKeys, Policy, PolicyError, hashed

WHOLE = {
    "version": 3,
    "classes": {"person": "hash", "content": "drop"},
    "fields": {"user_email": "drop", "attributes.novel": "drop", "resource_attributes.host.name": "hash"},
    "mask": {"detail": True, "content": False},
    "hash_key": "2026-q4",
}


def test_a_policy_survives_its_control_record() -> None:
    chosen = Policy(**WHOLE)
    value = policy.control_value(chosen, "acme", updated_at=1, updated_by="ada")
    again = codec.decode("control", codec.encode("control", value))
    assert policy.parse(again["body"], policy="acme") == chosen
    assert (again["kind"], again["id"], again["tenant"]) == ("policy", "acme", "acme")
    assert policy.control_value(chosen, "*", updated_at=1, updated_by="ada")["tenant"] is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ({"clases": {}}, "there is no 'clases'; there are classes, fields, hash_key, mask, version"),
        ({"classes": {"private": "drop"}}, "'private' is none of usage, person, detail, content"),
        ({"classes": {"person": "hide"}}, "person is 'hide', not one of keep, hash, drop"),
        ({"classes": []}, "classes must be an object"),
        ({"fields": {"user_mail": "drop"}}, "there is no field 'user_mail'"),
        ({"fields": {"tenant": "drop"}}, "tenant cannot be changed: rows are found, told apart and joined by it"),
        ({"fields": {"event_time": "hash"}}, "event_time cannot be changed: days, windows and expiry go by it"),
        ({"fields": {"attributes.session.id": "drop"}}, "session.id cannot be changed"),
        ({"mask": {"person": True}}, "'person' is none of detail, content"),
        ({"mask": {"detail": "yes"}}, "detail is 'yes', not one of true, false"),
        ({"mask": {"detail": 1}}, "detail is 1, not one of true, false"),
        ({"version": "1"}, "version must be a whole number"),
        ({"hash_key": "a b"}, "hash_key must be 1 to 32"),
    ],
)
def test_nonsense_is_refused(body: Any, words: str) -> None:
    with pytest.raises(PolicyError, match="policy of acme: ") as caught:
        policy.parse(body if isinstance(body, str) else json.dumps(body), policy="acme")
    assert words in str(caught.value)
    assert caught.value.policy == "acme"


def test_what_rows_cannot_live_without_are_fields_and_every_required_one_is_among_them() -> None:
    assert set(INDISPENSABLE) <= policy.known_fields()
    required = {f.name for name in policy.policy.RECORDS for f in records.record(name).fields if f.required}
    assert required <= set(INDISPENSABLE)


def test_a_class_passes_over_what_rows_cannot_live_without() -> None:
    chosen = Policy(classes={"usage": "drop"})
    assert (chosen.action("session_id", "usage"), chosen.action("model", "usage")) == ("keep", "drop")


def test_an_attribute_fares_no_better_than_its_field_unless_it_is_named() -> None:
    chosen = Policy(classes={"person": "drop"}, fields={"attributes.user.email": "keep"})
    assert chosen.attribute("resource_attributes", "user.email") == "drop"
    assert chosen.attribute("resource_attributes", "host.name") == "keep"
    assert chosen.attribute("attributes", "user.email") == "keep"


def test_a_hash_is_the_same_for_one_tenant_and_key_only() -> None:
    ring = HashKeys({"a": b"x" * 32, "b": b"y" * 32})
    assert hashed("ada", "a", ring.key("a", "acme")) == hashed("ada", "a", ring.key("a", "acme"))
    found = {hashed("ada", k, ring.key(k, t)) for k in "ab" for t in ("acme", "umbrella")}
    assert len(found) == 4
    assert all(one.startswith(("h:a:", "h:b:")) and len(one) == 36 for one in found)
    with pytest.raises(PolicyError, match=r"no hash key 'c' here \(there are a, b\)"):
        ring.key("c", "acme")
