"""Routing rules: which one takes a record, and which make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import routing
from schemas.errors import CodecError, RoutingError
from schemas.routing import DROP, HOT, UNROUTED, Decision, Facts

RECORD = Facts("acme", "logs", "tool_result", "platform", "claude-code", "2.1.39")


def rules(*written: dict[str, Any]) -> routing.Routing:
    return routing.parse({"version": 1, "rules": [{"name": f"r{i}", **rule} for i, rule in enumerate(written)]})


def taken_by(when: dict[str, Any], **facts: Any) -> bool:
    return rules({"when": when, "route": "archive"}).decide(RECORD._replace(**facts)).rule == "r0"


def test_without_a_rule_everything_is_hot() -> None:
    assert rules().decide(RECORD) is UNROUTED
    assert rules({"when": {"team": "web"}, "route": "drop"}).decide(RECORD) is UNROUTED


def test_the_first_rule_that_takes_a_record_wins() -> None:
    found = rules(
        {"when": {"event": "tool_*", "team": "web"}, "route": "drop"},
        {"when": {"event": "tool_*"}, "route": "archive"},
        {"when": {}, "route": "drop"},
    )
    assert found.decide(RECORD) == Decision("archive", "r1", "archive", "r1")
    assert found.decide(RECORD._replace(team="web")).rule == "r0"
    assert found.decide(RECORD._replace(event="user_prompt")).rule == "r2"


def test_all_conditions_must_hold_and_any_value_of_one() -> None:
    when = {"tenant": "acme", "signal": ["logs", "traces"], "team": ["web", "plat*"], "service": "claude-code"}
    assert taken_by(when)
    for other in ({"tenant": "globex"}, {"signal": "metrics"}, {"team": "core"}, {"service": "cowork"}):
        assert not taken_by(when, **other)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("hook_*", "hook_registered", True),
        ("hook_*", "a_hook_x", False),
        ("*_error", "api_error", True),
        ("a*b*c", "aXXbYYc", True),
        ("a*b*c", "acb", False),
        ("a*a", "a", False),
        ("*", "", True),
        ("", "", True),
        ("", "x", False),
        ("hook.*", "hook_x", False),
    ],
)
def test_a_star_stands_for_anything_and_nothing_else_does(pattern: str, text: str, matches: bool) -> None:
    assert taken_by({"team": pattern}, team=text) is matches


def test_who_has_no_team_is_found_by_the_empty_text() -> None:
    assert taken_by({"team": ""}, team=None)
    assert not taken_by({"team": ""}, team="web")


def test_a_name_may_be_written_with_or_without_its_prefix() -> None:
    assert taken_by({"event": "claude_code.tool_result"})
    assert taken_by({"event": "cost.usage"}, signal="metrics", event="claude_code.cost.usage")
    assert taken_by({"event": "claude_code.*"}, signal="metrics", event="claude_code.cost.usage")
    assert not taken_by({"event": "claude_code.*"}, signal="metrics", event="process.cpu")


@pytest.mark.parametrize(
    ("wanted", "version", "matches"),
    [
        (">=2.1.0", "2.1.0", True),
        (">=2.1.0", "2.1", True),
        (">=2.1.0", "2.1.0-rc.1", False),
        ("<2.1", "2.1.0-rc.1", True),
        (">2.1.9", "2.1.10", True),
        ("<2.1.10", "v2.1.9+build.7", True),
        ("=2.1", "2.1.0", True),
        (">=2.1.0 <2.2", "2.1.197", True),
        (">=2.1.0 <2.2", "2.2.0", False),
        ("<=1-rc.2", "1-rc.10", False),
        (["<1", ">=3"], "3.0", True),
        ("2.1.*", "2.1.39", True),
        (">=0", None, False),
        (">=0", "nightly", False),
        ("", None, True),
    ],
)
def test_versions_are_compared_as_versions(wanted: Any, version: str | None, matches: bool) -> None:
    assert taken_by({"version": wanted}, version=version) is matches


def test_content_is_routed_apart_from_its_record() -> None:
    found = rules(
        {"when": {"class": "content", "team": "platform"}, "route": "archive"},
        {"when": {"class": "content"}, "route": "drop"},
        {"when": {"event": "user_prompt"}, "route": "archive"},
    )
    assert found.decide(RECORD) == Decision("hot", None, "archive", "r0")
    assert found.decide(RECORD._replace(team=None, event="user_prompt")) == Decision("archive", "r2", "drop", "r1")


def test_a_dropped_record_takes_its_content_along() -> None:
    found = rules({"when": {"class": "content"}, "route": "hot"}, {"when": {"signal": "logs"}, "route": "drop"})
    assert found.decide(RECORD) == Decision("drop", "r1", "drop", "r1")


def test_a_tenant_that_no_rule_names_is_none_of_the_rules_concern() -> None:
    found = rules({"when": {"tenant": ["acme", "beta-*"]}, "route": "drop"})
    assert [found.concerns(tenant) for tenant in ("acme", "beta-7", "globex")] == [True, True, False]
    assert not rules().concerns("acme")


def test_it_is_said_which_condition_failed() -> None:
    found = rules(
        {"when": {"signal": "metrics"}, "route": "drop"},
        {"when": {"event": "tool_result", "team": "web"}, "route": "drop"},
        {"when": {"class": "content"}, "route": "drop"},
        {"when": {"version": ">=2"}, "route": "archive"},
        {"when": {"team": "x"}, "route": "archive"},
    )
    told = [(verdict.rule.name, verdict.failed) for verdict in found.explain(RECORD)]
    assert told == [("r0", "signal"), ("r1", "team"), ("r2", None), ("r3", None)]


# -- any rules, against the obvious way -------------------------------------------------------------------------------
TEXTS = st.sampled_from(["", "a", "ab", "b", "abc"])
PATTERNS = st.sampled_from(["", "*", "a", "a*", "*b", "a*c", "abc"])
WHEN = st.fixed_dictionaries(
    {},
    optional={
        "tenant": st.lists(PATTERNS, min_size=1, max_size=2),
        "signal": st.lists(st.sampled_from(routing.SIGNALS), min_size=1, max_size=2),
        "event": st.lists(PATTERNS, min_size=1, max_size=2),
        "team": st.lists(PATTERNS, min_size=1, max_size=2),
        "version": st.lists(st.sampled_from([">=2", "<2", "1", ">1 <3"]), min_size=1, max_size=2),
        "class": st.just(["content"]),
    },
)
RULES = st.lists(st.tuples(WHEN, st.sampled_from(routing.ROUTES)), max_size=8)
FACTS = st.builds(
    Facts, TEXTS, st.sampled_from(routing.SIGNALS), TEXTS, TEXTS, TEXTS, st.sampled_from(["", "1", "2", "3"])
)
COMPARED = {
    ">=2": lambda number: number >= 2,
    "<2": lambda number: number < 2,
    ">1 <3": lambda number: 1 < number < 3,
    "1": lambda number: number == 1,
}


def like(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(like(pattern[1:], text[i:]) for i in range(len(text) + 1))
    return text[:1] == pattern[0] and like(pattern[1:], text[1:])


def holds(condition: str, values: list[str], facts: Facts) -> bool:
    said = getattr(facts, condition)
    if condition == "version":
        return bool(said) and any(COMPARED[value](int(said)) for value in values)
    return said in values if condition == "signal" else any(like(value, said) for value in values)


def takes(rule: dict[str, Any], facts: Facts) -> bool:
    return all(holds(name, values, facts) for name, values in rule["when"].items() if name != "class")


def first(written: list[dict[str, Any]], facts: Facts, *, content: bool) -> dict[str, Any] | None:
    """The obvious way: every rule in order, every condition asked."""
    for rule in written:
        if "class" in rule["when"] and not content:
            continue
        if takes(rule, facts):
            return rule
    return None


def fault(written: list[dict[str, Any]]) -> str | None:
    try:
        routing.parse({"rules": written})
    except RoutingError as error:
        return error.reason
    return None


@given(RULES, st.lists(FACTS, min_size=1, max_size=12))
def test_the_compiled_rules_say_what_the_obvious_way_says(found: list[Any], records: list[Facts]) -> None:
    written: list[dict[str, Any]] = []
    for number, (when, route) in enumerate(found):
        rule = {"name": f"r{number}", "when": when, "route": route}
        refused = fault([*written, rule])
        if refused is None:
            written.append(rule)
            continue
        assert refused == "unreachable_rule"
        assert all(first(written, facts, content="class" in when) for facts in records if takes(rule, facts))
    compiled = routing.parse({"rules": written})
    for facts in [*records, *records]:  # the second time from memory
        of_record, of_content = first(written, facts, content=False), first(written, facts, content=True)
        if of_record is not None and of_record["route"] == DROP:
            of_content = of_record
        want = [(HOT, None) if rule is None else (rule["route"], rule["name"]) for rule in (of_record, of_content)]
        assert compiled.decide(facts) == Decision(*want[0], *want[1])
        assert compiled.concerns(facts.tenant) or compiled.decide(facts) == UNROUTED


def test_what_clients_make_up_fills_no_memory() -> None:
    found = rules({"when": {"team": "web"}, "route": "drop"})
    for number in range(routing._REMEMBERED + 10):
        found.decide(RECORD._replace(event=f"e{number}", team=f"t{number}"))
        found.concerns(f"t{number}")
    assert max(len(found._named), len(found._decided), len(found._tenants)) <= routing._REMEMBERED
    assert found.decide(RECORD._replace(team="web")).rule == "r0"


# -- faults -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("written", "reason", "words"),
    [
        ([], "malformed_rules", "expected"),
        ({"rules": [], "rulez": 1}, "malformed_rules", "rulez"),
        ({"rules": ["drop"]}, "malformed_rules", "rule 1 is no object"),
        ({"rules": [{"when": {}, "route": "drop"}]}, "bad_name", "rule 1 needs a name"),
        ({"rules": [{"name": "a", "route": "cold"}]}, "unknown_route", "'a': unknown route 'cold': hot, archive, drop"),
        ({"rules": [{"name": "a", "then": 1, "route": "drop"}]}, "malformed_rules", "not then"),
        ({"rules": [{"name": "a", "when": {"user": "x"}, "route": "drop"}]}, "unknown_condition", "condition 'user'"),
        ({"rules": [{"name": "a", "when": {"team": []}, "route": "drop"}]}, "malformed_rules", "team needs a text"),
        ({"rules": [{"name": "a", "when": {"team": 7}, "route": "drop"}]}, "malformed_rules", "team needs a text"),
        ({"rules": [{"name": "a", "when": {"signal": "log"}, "route": "drop"}]}, "malformed_rules", "signal is one of"),
        ({"rules": [{"name": "a", "when": {"class": "person"}, "route": "drop"}]}, "malformed_rules", "privacy policy"),
        ({"rules": [{"name": "a", "when": {"version": ">=x"}, "route": "drop"}]}, "bad_version", "'>=x'"),
        ({"rules": [{"name": "a", "when": {"version": "<2,>1"}, "route": "drop"}]}, "bad_version", "stand apart"),
        (
            {"rules": [{"name": "a", "when": {"team": "x"}, "route": "drop"}, {"name": "a", "route": "drop"}]},
            "double_name",
            "two rules",
        ),
        (
            {"rules": [{"name": "all", "route": "hot"}, {"name": "late", "when": {"team": "x"}, "route": "drop"}]},
            "unreachable_rule",
            "routing rule 'late': rule 'all' before it",
        ),
        (
            {"rules": [{"name": f"r{i}", "when": {"team": f"t{i}"}, "route": "hot"} for i in range(257)]},
            "malformed_rules",
            "at most 256",
        ),
    ],
)
def test_rules_that_make_no_sense_are_refused_in_one_clear_line(written: Any, reason: str, words: str) -> None:
    with pytest.raises(RoutingError) as caught:
        routing.parse(written)
    assert caught.value.reason == reason
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rule_about_content_hides_no_rule_about_records() -> None:
    found = rules({"when": {"class": "content"}, "route": "drop"}, {"when": {}, "route": "archive"})
    assert [rule.name for rule in found.rules] == ["r0", "r1"]


def test_rules_survive_the_control_topic() -> None:
    found = rules({"when": {"event": ["hook_*", "x"], "version": ">=2 <3"}, "route": "drop"}, {"route": "archive"})
    value = routing.control_value(found, updated_at=1, updated_by="tests")
    assert routing.document(routing.from_control(value)) == routing.document(found)
    assert routing.from_control(value | {"deleted": True}).rules == routing.from_control(None).rules == ()
    with pytest.raises(CodecError):
        routing.from_control(value | {"body": "{"})
