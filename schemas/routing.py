"""Routing: ordered rules that say where a record goes. The first rule that takes it wins; without one it is hot.

    hot      topics, lake and query tables
    archive  topic and lake only; it still counts in every aggregate
    drop     stored nowhere; counted by rule. A dropped event of a session leaves its place in the sequence

The rules stand on the control topic as {"version": 3, "rules": [{"name": …, "when": {condition: values}, "route": …}]}.
A rule takes what meets all of its conditions; of a condition's values (one text or a list) any may hold:

    tenant, event, team, service   a text, in which * stands for anything. event: the event's, metric's or span's name,
                                   with or without its prefix claude_code.
    version                        of the client: a text as above, or comparisons that must all hold: ">=2.1.0 <2.2"
    signal                         logs, metrics or traces
    class                          content: the rule is about the content of a record apart from the record

What a record does not say is the empty text, and no version. Content is routed by the first rule that takes it, with or
without `class`; but a dropped record takes its content along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from schemas.errors import CodecError, RoutingError

Route = Literal["hot", "archive", "drop"]
HOT: Route = "hot"
ARCHIVE: Route = "archive"
DROP: Route = "drop"
ROUTES: tuple[Route, ...] = (HOT, ARCHIVE, DROP)

CONTROL_KIND, CONTROL_ID = "routing", "rules"
RULES_MAX = 256
"""Rules that may stand side by side: each is a label of a metric."""

SIGNALS = ("logs", "metrics", "traces")
CONTENT = "content"
_CLASS = "class"
_PREFIX = "claude_code."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Names and teams are the client's: whoever sends ever new ones must not fill the memory. At most some 40 MB.
_REMEMBERED = 8192


class Facts(NamedTuple):
    """What rules ask of a record; None or "" for what it does not say."""

    tenant: str
    signal: str
    event: str
    team: str | None = None
    service: str | None = None
    version: str | None = None


CONDITIONS: tuple[str, ...] = (*Facts._fields, _CLASS)


class Decision(NamedTuple):
    """Where a record goes and where its content does, and by which rule; None: no rule took it."""

    route: Route
    rule: str | None
    content_route: Route
    content_rule: str | None


UNROUTED = Decision(HOT, None, HOT, None)

Test = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. when: condition → its values, as they were written.  content_only: it has the condition `class`."""

    name: str
    route: Route
    when: Mapping[str, tuple[str, ...]]
    content_only: bool
    tests: tuple[tuple[str, tuple[Test, ...]], ...]

    def failed(self, facts: Facts, among: Sequence[str] = Facts._fields) -> str | None:
        """The first condition, of those named in `among`, that does not hold; None when all do."""
        for condition, tests in self.tests:
            if condition in among and not _holds(condition, tests, facts):
                return condition
        return None


class Verdict(NamedTuple):
    """What a rule says of a record: it takes it, or the condition that failed."""

    rule: Rule
    failed: str | None


class Routing:
    """The rules in force, compiled. Use it from one thread."""

    def __init__(self, rules: Sequence[Rule], version: int) -> None:
        self.rules = tuple(rules)
        self.version = version
        self._tenants: dict[str, bool] = {}
        self._named: dict[tuple[str, str], Decision | tuple[Rule, ...]] = {}
        self._decided: dict[Facts, Decision] = {}

    def concerns(self, tenant: str) -> bool:
        """Whether any rule can take a record of this tenant."""
        try:
            return self._tenants[tenant]
        except KeyError:
            facts = Facts(tenant, "", "")
            _room_for_one(self._tenants)
            found = any(rule.failed(facts, ("tenant",)) is None for rule in self.rules)
            return self._tenants.setdefault(tenant, found)

    def decide(self, facts: Facts) -> Decision:
        """Where a record with these facts goes."""
        name = (facts.signal, facts.event)
        found = self._named.get(name)
        if found is None:
            _room_for_one(self._named)
            found = self._named[name] = self._narrowed(facts)
        if isinstance(found, Decision):
            return found
        try:
            return self._decided[facts]
        except KeyError:
            _room_for_one(self._decided)
            return self._decided.setdefault(facts, _first(found, facts))

    def explain(self, facts: Facts) -> Iterator[Verdict]:
        """What each rule says of a record, in order, up to the one that takes it."""
        for rule in self.rules:
            failed = rule.failed(facts)
            yield Verdict(rule, failed)
            if failed is None and not rule.content_only:
                return

    def _narrowed(self, facts: Facts) -> Decision | tuple[Rule, ...]:
        """The rules that can take a record of this signal and name; a decision where the name alone decides."""
        rules = tuple(rule for rule in self.rules if rule.failed(facts, ("signal", "event")) is None)
        if not rules:
            return UNROUTED
        decides = not rules[0].content_only and {"signal", "event"}.issuperset(rules[0].when)
        return _first(rules, facts) if decides else rules


def parse(document: Any) -> Routing:
    """The rules of a control record's body, or of a file. Raises: RoutingError."""
    if not isinstance(document, dict) or not isinstance(document.get("rules"), list):
        raise RoutingError('expected {"version": …, "rules": [{"name": …, "when": {…}, "route": …}]}')
    unknown = document.keys() - {"version", "rules"}
    version = document.get("version", 0)
    if unknown or version.__class__ is not int or version < 0:
        raise RoutingError(f"beside rules there is only version, a whole number; not {', '.join(unknown) or version!r}")
    if len(document["rules"]) > RULES_MAX:
        raise RoutingError(f"{len(document['rules'])} rules; at most {RULES_MAX} can be in force")
    rules: list[Rule] = []
    for number, written in enumerate(document["rules"], 1):
        rule = _rule(written, number)
        if any(rule.name == other.name for other in rules):
            raise RoutingError("two rules have this name", reason="double_name", rule=rule.name)
        earlier = next((other for other in rules if _covers(other, rule)), None)
        if earlier is not None:
            words = (
                f"rule {earlier.name!r} before it takes everything that it could take: put it first, or leave it out"
            )
            raise RoutingError(words, reason="unreachable_rule", rule=rule.name)
        rules.append(rule)
    return Routing(rules, version)


def document(routing: Routing) -> dict[str, Any]:
    """The rules as `parse` takes them."""
    rules = [
        {"name": rule.name, "when": {c: list(v) for c, v in rule.when.items()}, "route": rule.route}
        for rule in routing.rules
    ]
    return {"version": routing.version, "rules": rules}


def control_value(routing: Routing, *, updated_at: int, updated_by: str) -> dict[str, Any]:
    """The Control record of the rules. updated_at: microseconds since the epoch."""
    return {
        "kind": CONTROL_KIND,
        "id": CONTROL_ID,
        "tenant": None,
        "body": json.dumps(document(routing), ensure_ascii=False),
        "deleted": False,
        "updated_at": updated_at,
        "updated_by": updated_by,
    }


def from_control(value: Mapping[str, Any] | None) -> Routing:
    """The rules of a Control record; none without one. Raises: RoutingError, CodecError for a body that is no JSON."""
    if value is None or value["deleted"]:
        return Routing((), 0)
    try:
        body = json.loads(value["body"])
    except ValueError as error:
        raise CodecError(f"control: routing: {error}", record="control") from error
    return parse(body)


def _first(rules: Sequence[Rule], facts: Facts) -> Decision:
    """The decision of the first rules that take the record and its content."""
    content: Rule | None = None
    for rule in rules:
        if rule.content_only and content is not None:
            continue
        if rule.failed(facts) is not None:
            continue
        if rule.content_only:
            content = rule
            continue
        if content is None or rule.route == DROP:  # what a dropped record said is dropped with it
            content = rule
        return Decision(rule.route, rule.name, content.route, content.name)
    return UNROUTED if content is None else Decision(HOT, None, content.route, content.name)


def _rule(written: Any, number: int) -> Rule:
    if not isinstance(written, dict):
        raise RoutingError(f"rule {number} is no object")
    name = written.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        words = f"rule {number} needs a name of 1 to 64 letters, digits, dots, dashes and underscores, not {name!r}"
        raise RoutingError(words, reason="bad_name")
    unknown = written.keys() - {"name", "when", "route"}
    if unknown:
        raise RoutingError(f"a rule has name, when and route; not {', '.join(sorted(unknown))}", rule=name)
    if written.get("route") not in ROUTES:
        words = f"unknown route {written.get('route')!r}: {', '.join(ROUTES)}"
        raise RoutingError(words, reason="unknown_route", rule=name)
    conditions = written.get("when", {})
    if not isinstance(conditions, dict):
        raise RoutingError("`when` is an object: condition → value, or list of values", rule=name)
    when = {condition: _values(name, condition, values) for condition, values in conditions.items()}
    tests = tuple(
        (condition, tuple(_test(name, condition, value) for value in when[condition]))
        for condition in Facts._fields
        if condition in when
    )
    return Rule(name, written["route"], when, _CLASS in when, tests)


def _values(rule: str, condition: str, written: Any) -> tuple[str, ...]:
    if condition not in CONDITIONS:
        words = f"unknown condition {condition!r}: {', '.join(CONDITIONS)}"
        raise RoutingError(words, reason="unknown_condition", rule=rule)
    values = tuple(written) if isinstance(written, list) else (written,)
    if not values or not all(isinstance(value, str) for value in values):
        raise RoutingError(f"{condition} needs a text or a list of texts, not {written!r}", rule=rule)
    if condition == "signal" and not set(values) <= set(SIGNALS):
        raise RoutingError(f"signal is one of {', '.join(SIGNALS)}, not {written!r}", rule=rule)
    if condition == _CLASS and set(values) != {CONTENT}:
        words = (
            f"class can only be {CONTENT}, not {written!r}: of other classes the privacy policy keeps, drops or hashes"
        )
        raise RoutingError(words, rule=rule)
    return values


# -- conditions -------------------------------------------------------------------------------------------------------
def _holds(condition: str, tests: Sequence[Test], facts: Facts) -> bool:
    value = getattr(facts, condition) or ""
    if any(test(value) for test in tests):
        return True
    if condition != "event":
        return False
    # An event has lost its prefix by now; a metric and a span have it, where it is theirs.
    other = _PREFIX + value if facts.signal == "logs" else value.removeprefix(_PREFIX)
    return other != value and any(test(other) for test in tests)


def _test(rule: str, condition: str, value: str) -> Test:
    if condition == "version" and value[:1] in ("<", ">", "="):
        comparisons = [_comparison(rule, part) for part in value.split()]
        return lambda text: (found := _version(text)) is not None and all(holds(found) for holds in comparisons)
    if "*" in value:
        return _pattern(value)
    return value.__eq__


def _pattern(value: str) -> Test:
    """Matches in time that is linear in the text, which is the client's."""
    first, *middle, last = value.split("*")

    def matches(text: str) -> bool:
        if not text.startswith(first) or not text.endswith(last):
            return False
        at = len(first)
        for part in middle:
            at = text.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return at <= len(text) - len(last)

    return matches


_Version = tuple[Any, ...]
_NUMBERS = re.compile(r"[vV]?([0-9]{1,9}(?:\.[0-9]{1,9}){0,7})(?:-([0-9A-Za-z.-]{1,64}))?(?:\+.{0,64})?")
_COMPARISON = re.compile(r"(>=|<=|==|=|>|<)(.+)")


def _version(text: str) -> _Version | None:
    """A version in semver's order (1.0-rc.1 before 1.0, which is 1.0.0), or None for what is none."""
    match = _NUMBERS.fullmatch(text)
    if match is None:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    if match[2] is None:
        return tuple(numbers), 1, ()
    parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in match[2].split("."))
    return tuple(numbers), 0, parts


def _comparison(rule: str, text: str) -> Callable[[_Version], bool]:
    match = _COMPARISON.fullmatch(text)
    bound = _version(match[2]) if match else None
    if match is None or bound is None:
        words = f"version {text!r} is no comparison such as >=2.1.0; several stand apart: >=2.1.0 <2.2"
        raise RoutingError(words, reason="bad_version", rule=rule)
    return {
        ">=": lambda found: found >= bound,
        "<=": lambda found: found <= bound,
        ">": lambda found: found > bound,
        "<": lambda found: found < bound,
    }.get(match[1], bound.__eq__)


# -- what makes no sense ----------------------------------------------------------------------------------------------
def _covers(earlier: Rule, later: Rule) -> bool:
    """Whether the earlier rule plainly takes all that the later one could. (Not every such case is found.)"""
    if earlier.content_only and not later.content_only:
        return False
    tests = dict(earlier.tests)
    return all(
        condition in later.when and all(_includes(values, tests[condition], value) for value in later.when[condition])
        for condition, values in earlier.when.items()
        if condition != _CLASS and "*" not in values
    )


def _includes(values: Sequence[str], tests: Sequence[Test], value: str) -> bool:
    plain = "*" not in value and value[:1] not in ("<", ">", "=")
    return value in values or (plain and any(test(value) for test in tests))


def _room_for_one(kept: dict[Any, Any]) -> None:
    if len(kept) >= _REMEMBERED:
        kept.clear()
