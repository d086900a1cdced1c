"""What routing rules would do with recorded requests, by the gateway's own transcoder; nothing is sent or stored."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from millrace.recordings import Recording
from schemas import otlp
from schemas.errors import OtlpError
from schemas.routing import DROP, Decision, Facts, Routing, Verdict
from service.transcoding import TranscoderSettings


@dataclass(frozen=True, slots=True)
class Taken:
    """What the rules do with one record: where it goes, and what each rule says of it up to the one that takes it."""

    recording: str
    number: int
    facts: Facts
    decision: Decision
    verdicts: tuple[Verdict, ...]


@dataclass
class Rehearsal:
    """The records in the order of the files; (file, reason and error) of what would be rejected before any rule."""

    taken: list[Taken] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)


class _Overheard(Routing):
    """Rules that remember what they were asked."""

    def __init__(self, routing: Routing) -> None:
        super().__init__(routing.rules, routing.version)
        self.asked: list[Facts] = []

    def decide(self, facts: Facts) -> Decision:
        self.asked.append(facts)
        return super().decide(facts)


def rehearse(routing: Routing, requests: Iterator[Recording], tenant: str, settings: TranscoderSettings) -> Rehearsal:
    """What these rules do with these requests of a tenant, in a gateway with these settings."""
    out = Rehearsal()
    context = settings.context(tenant, time.time_ns() // 1000, b"nobody sees these user keys")
    for request in requests:
        overheard = _Overheard(routing)
        try:
            decoded = otlp.transcode(
                request.signal, request.content_type, request.body, dataclasses.replace(context, routing=overheard)
            )
        except OtlpError as error:
            out.rejected.append((request.name, f"{error.reason}: {error}"))
            continue
        for number, facts in enumerate(overheard.asked, 1):
            decision = routing.decide(facts)
            out.taken.append(Taken(request.name, number, facts, decision, tuple(routing.explain(facts))))
        out.rejected += [(request.name, f"{one.reason}: {one.error}") for one in decoded.rejections]
    return out


def as_json(found: Rehearsal) -> list[dict[str, Any]]:
    """An object for every record; `why` has what each rule says up to the one that takes it."""
    return [
        {
            "file": one.recording,
            "record": one.number,
            **one.facts._asdict(),
            **one.decision._asdict(),
            "why": [{"rule": v.rule.name, "takes": v.failed is None, "failed": v.failed} for v in one.verdicts],
        }
        for one in found.taken
    ]


def as_text(found: Rehearsal) -> str:
    """For people: a line a record, why below the first of its kind, and at the end the sums by rule."""
    lines: list[str] = []
    told: dict[Facts, int] = {}
    recording = ""
    for number, one in enumerate(found.taken, 1):
        if one.recording != recording:
            recording = one.recording
            lines.append(recording)
        first = told.setdefault(one.facts, number)
        again = "" if first == number else f"  (as {first})"
        lines.append(f"{number:>6}  {_name(one.facts)}  ->  {_where(one.decision)}{again}")
        if first == number:
            lines += [f"        {_said(verdict, one.facts)}" for verdict in one.verdicts]
    lines += [f"rejected, whatever the rules say: {name}: {error}" for name, error in found.rejected]
    return "\n".join([*lines, "", *_sums(found)]) + "\n"


def _name(facts: Facts) -> str:
    said = [f"{name} {value}" for name, value in zip(("team", "service", "version"), facts[3:], strict=True) if value]
    return "  ".join([facts.signal, facts.event, *said])


def _where(decision: Decision) -> str:
    route = decision.route if decision.rule is None else f"{decision.route} by {decision.rule}"
    if decision.content_rule == decision.rule:
        return route
    return f"{route}, its content {decision.content_route} by {decision.content_rule}"


def _said(verdict: Verdict, facts: Facts) -> str:
    """What a rule says of a record, with the values that it asks for."""
    rule = verdict.rule
    if verdict.failed is None:
        held = [f"{name} {getattr(facts, name) or 'none'!s}" for name in rule.when if name in Facts._fields]
        what = "takes the content" if rule.content_only else "takes it"
        return f"{rule.name} {what}: {', '.join(held) if held else 'no condition'}"
    wanted = " or ".join(repr(value) for value in rule.when[verdict.failed])
    return f"{rule.name} does not: {verdict.failed} is {getattr(facts, verdict.failed) or 'none'}, not {wanted}"


def _sums(found: Rehearsal) -> list[str]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in found.taken:
        decision = one.decision
        counts[decision.rule or "(no rule)", decision.route, one.facts.signal] += 1
        if decision.content_rule is not None and decision.content_rule != decision.rule and decision.route != DROP:
            counts[decision.content_rule, decision.content_route, "content, where there is any"] += 1
    lines = [f"{rule}  {route}  {count} {what}" for (rule, route, what), count in sorted(counts.items())]
    return [*lines, *([f"rejected  {len(found.rejected)}"] if found.rejected else [])]
