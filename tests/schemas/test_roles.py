"""What a grant, a rule and a role mean, before any SQL."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import roles
from schemas.errors import CodecError, RoleError
from schemas.keys import KeyRecord, control_value, from_control
from schemas.roles import ADMIN, DATASETS, DEFAULTS, Condition, Grant, Role, parse_rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("team = 'platform'", (Condition("team", ("platform",)),)),
        ("TEAM='it''s'", (Condition("team", ("it's",)),)),
        ("organization_id in ('a', 'b','a')", (Condition("organization_id", ("a", "b")),)),
        ("success = TRUE and attempt in (1, -2)", (Condition("success", (True,)), Condition("attempt", (1, -2)))),
        ("team = 'x AND y = 1; --'", (Condition("team", ("x AND y = 1; --",)),)),
    ],
)
def test_a_rule_is_parsed_into_values(text: str, rule: roles.Rule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends where a column was expected"),
        ("team", "ends where = or IN was expected"),
        ("team =", "ends where a value"),
        ("team = platform", "'platform' at character 8"),
        ("team = 'a' OR team = 'b'", "'OR' at character 12, where AND was expected"),
        ("team = 'a' AND", "ends where a column"),
        ("team != 'a'", "cannot be read at character 6"),
        ("team = 'a' -- x", "cannot be read at character 12"),
        ("team = 'a'; drop table x", "cannot be read at character 11"),
        ("team IN ()", "')' at character 10"),
        ("team IN ('a'", "ends where ) was expected"),
        ("team IN ('a', 1)", "of several types"),
        ("team = (select 1)", "'(' at character 8"),
        ("not team = 'a'", "'not' at character 1"),
        ("1 = 1", "'1' at character 1"),
        ('"team" = 1', "cannot be read at character 1"),
        ("team = 'a", "cannot be read at character 8"),
        ("attempt = 99999999999999999999", "64 bits"),
        ("team = '" + "x" * 300 + "'", "at most 256"),
        ("attempt in (" + ",".join(map(str, range(200))) + ")", "more than 100 values"),
        ("team = 'a\0'", "NUL"),
        ("lower(team) = 'a'", "'(' at character 6"),
    ],
)
def test_whatever_else_is_no_rule(text: str, says: str) -> None:
    with pytest.raises(RoleError) as error:
        parse_rule(text)
    assert says in str(error.value)


_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
_VALUES = st.one_of(
    st.lists(_TEXTS, min_size=1, max_size=4, unique=True),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4, unique=True),
    st.lists(st.booleans(), min_size=1, max_size=2, unique=True),
)
_CONDITIONS = st.builds(
    lambda column, values: Condition(column, tuple(values)), st.sampled_from(["team", "attempt", "success"]), _VALUES
)


@given(st.lists(_CONDITIONS, min_size=1, max_size=4))
def test_a_rule_comes_back_from_its_text_and_from_the_control_topic(conditions: list[Condition]) -> None:
    rule = tuple(conditions)
    assert parse_rule(roles.shown_rule(rule)) == rule
    role = Role("auditor", (Grant("detail", ("events",), rule),), 3)
    assert roles.from_control(roles.control_value(role, updated_at=1, updated_by="test")) == role


def test_a_grant_without_names_reaches_all_but_the_restricted_datasets() -> None:
    reached = {cls: {n for n in DATASETS if Grant(cls).covers(n)} for cls in ("usage", "person", "detail")}
    assert set(map(frozenset, reached.values())) == {frozenset(set(DATASETS) - {"content", "rejected", "audit"})}
    assert {n for n in DATASETS if Grant("content").covers(n)} == set(DATASETS) - {"audit"}
    assert {n for n in DATASETS if Grant("usage", ("content",)).covers(n)} == {"content"}


def test_a_rule_that_a_dataset_cannot_answer_gives_no_row_of_it() -> None:
    empty = roles.without_rows(Grant("usage", (), parse_rule("organization_id = 'o'")))
    assert set(empty) == {"session_hours", "user_hours", "user_days"}
    assert "events" in roles.without_rows(Grant("usage", (), parse_rule("team = 1")))
    assert "people" in roles.without_rows(Grant("usage", (), parse_rule("team = 'platform'")))
    # A mark of class content is no text to compare, a map or a time neither.
    for rule in ("prompt = 'x'", "attributes = 'x'", "event_time = 1", "cost_usd = 1"):
        assert "events" in roles.without_rows(Grant("usage", (), parse_rule(rule)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("secret", (), None), "no class 'secret'"),
        (("usage", ("event",), None), "no dataset 'event'"),
        (("usage", (), "no_such_column = 1"), "gives no row"),
        (("usage", ("people",), "team = 'platform'"), "gives no row"),
    ],
)
def test_a_grant_that_gives_nothing_is_refused(arguments: tuple[str, tuple[str, ...], str | None], says: str) -> None:
    with pytest.raises(RoleError, match=says):
        roles.checked_grant(*arguments)


def test_a_role_gains_and_loses_grants_and_counts_its_versions() -> None:
    grant = roles.checked_grant("content", ("content",), "team = 'platform'")
    assert str(grant) == "content on content where team = 'platform'"
    wider = roles.granted(DEFAULTS["security"], grant)
    assert (wider.version, wider.grants[-1]) == (1, grant)
    with pytest.raises(RoleError, match="already"):
        roles.granted(wider, grant)
    narrower = roles.revoked(wider, grant)
    assert (narrower.version, narrower.grants) == (2, DEFAULTS["security"].grants)
    with pytest.raises(RoleError, match="no such grant"):
        roles.revoked(narrower, grant)
    for change in (roles.granted, roles.revoked):
        with pytest.raises(RoleError, match="admin cannot be changed"):
            change(DEFAULTS[ADMIN], grant)


def test_content_is_the_admins_alone_until_it_is_granted() -> None:
    having = {role.name for role in DEFAULTS.values() if any(grant.cls == "content" for grant in role.grants)}
    reading = {role.name for role in DEFAULTS.values() if any(grant.covers("content") for grant in role.grants)}
    assert having == reading == {ADMIN}


def _control(body: str, name: str = "viewer", deleted: bool = False) -> dict[str, Any]:
    return {"kind": "role", "id": name, "body": body, "deleted": deleted}


def test_the_control_topic_has_the_last_word_but_on_admin() -> None:
    narrow = '{"grants": [{"class": "usage", "names": ["events"], "rule": []}], "version": 4}'
    held = {
        "viewer": _control(narrow),
        "admin": _control(narrow, "admin"),
        "analyst": _control("{", "analyst"),
        "security": _control(narrow, "security", deleted=True),
        "custom": _control(narrow, "custom"),
    }
    find = roles.finder(held.get)
    assert find("viewer") == Role("viewer", (Grant("usage", ("events",)),), 4)
    assert find("custom") == Role("custom", (Grant("usage", ("events",)),), 4)
    assert find("admin") == DEFAULTS["admin"]
    assert find("security") == DEFAULTS["security"]
    assert find("analyst") is None  # unreadable: it gives nothing, not what it was by default
    assert find("nobody") is None


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        '{"grants": [{"class": "all", "names": [], "rule": []}], "version": 1}',
        '{"grants": [{"class": "usage", "names": "events", "rule": []}], "version": 1}',
        '{"grants": [{"class": "usage", "names": [1], "rule": []}], "version": 1}',
        '{"grants": [{"class": "usage", "names": [], "rule": {}}], "version": 1}',
        '{"grants": [{"class": "usage", "names": [], "rule": [{"column": 1, "values": ["x"]}]}], "version": 1}',
        '{"grants": [{"class": "usage", "names": [], "rule": [{"column": "team", "values": []}]}], "version": 1}',
        '{"grants": [{"class": "usage", "names": [], "rule": [{"column": "team", "values": [1.5]}]}], "version": 1}',
        '{"grants": [{"class": "usage", "names": [], "rule": [{"column": "team", "values": [null]}]}], "version": 1}',
        '{"grants": [], "version": "1"}',
    ],
)
def test_a_role_that_cannot_be_read_is_an_error(body: str) -> None:
    with pytest.raises(CodecError):
        roles.from_control(_control(body))


def test_a_key_keeps_its_roles_and_an_old_key_is_an_analyst() -> None:
    key = KeyRecord("1", "query", "acme", "h", "", roles=("viewer", "custom"))
    value = control_value(key, updated_at=1, updated_by="test")
    assert from_control(value) == key
    assert roles.actor_of(key).roles == ("viewer", "custom")
    old = from_control({**value, "body": '{"hash": "h", "key_kind": "query", "name": ""}'})
    assert roles.actor_of(old).roles == ("analyst",)
    assert roles.actor_of(KeyRecord("2", "admin", None, "h", "")).roles == ("admin",)
    for body in ('"viewer"', "[1]", "null"):
        with pytest.raises(CodecError):
            from_control({**value, "body": f'{{"hash": "h", "key_kind": "query", "name": "", "roles": {body}}}'})
