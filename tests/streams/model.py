"""What sessions, hours and days must be, computed the slow and obvious way from the set of distinct records."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from streams.sessions.events import Event
from streams.sessions.points import Point

HOUR = 3_600_000_000
DAY = 24 * HOUR
PAUSE = 1800 * 1_000_000
EVENT_SUMS = ("prompts", "api_requests", "tools", "tool_failures", "api_errors", "accepts", "rejects", "input_tokens")


def level(record: Event | Point) -> int:
    return 3 if record.user_account_uuid else 2 if record.user_email else 1 if record.user_id else 0


def counted(record: Event | Point) -> int:
    """When a record is taken to have happened."""
    return record.received_time if record.clock_suspect else record.event_time


def holder(record: Event | Point) -> str:
    """What stands in the key of a record without a session: its user, or else its resource."""
    return record.user_key or "00" * 16


def session_of(record: Event | Point) -> str:
    """Its session, or the pseudo-session of its day; of a cumulative point the one of the day its series began."""
    if record.session_id:
        return record.session_id
    if isinstance(record, Point) and record.temporality == "cumulative":
        return f"~{holder(record)}~{(record.start_time or 0) // DAY}"
    return f"~{holder(record)}~{counted(record) // DAY}"


def event_addends(event: Event) -> dict[str, Any]:
    match event.event_name:
        case "user_prompt":
            return {"prompts": 1}
        case "api_request":
            cost = event.cost_usd if event.cost_usd_micros is None else event.cost_usd_micros / 1e6
            return {"api_requests": 1, "cost_usd": Fraction(cost or 0), "input_tokens": event.input_tokens or 0}
        case "tool_result":
            return {"tools": 1, "tool_failures": int(event.success is False)}
        case "tool_decision":
            return {"accepts" if event.decision == "accept" else "rejects": 1}
        case "api_error":
            return {"api_errors": 1}
    return {}


def series_growth(points: Iterable[Point]) -> list[tuple[Point, int, Fraction]]:
    """(point, hour, growth): delta points as they are; of a cumulative series the latest end in each hour, less the
    hour before."""
    out = []
    cumulative: dict[Any, dict[int, Point]] = defaultdict(dict)
    for p in points:
        hour = counted(p) // HOUR
        if p.temporality == "delta":
            out.append((p, hour, Fraction(p.value or 0)))
        else:
            kept = cumulative[p.session_id, p.series, p.start_time].get(hour)
            if kept is None or p.event_time > kept.event_time:
                cumulative[p.session_id, p.series, p.start_time][hour] = p
    for hours in cumulative.values():
        before = Fraction(0)
        for hour in sorted(hours):
            value = Fraction(hours[hour].value or 0)
            out.append((hours[hour], hour, value - before))
            before = value
    return out


def expected(events: Iterable[Event], points: Iterable[Point]) -> tuple[dict[str, Any], dict[Any, Any]]:
    """(session rows by id, user windows by (user, team, cost centre, grain, start)) of distinct records."""
    by_session: dict[str, list[Event]] = defaultdict(list)
    points_of: dict[str, list[Point]] = defaultdict(list)
    for e in {e.event_id: e for e in events}.values():
        by_session[session_of(e)].append(e)
    for p in {p.point_id: p for p in points}.values():
        points_of[session_of(p)].append(p)
    sessions: dict[str, Any] = {}
    blank = {"sessions": 0, "cost_usd": Fraction(0), "metric_cost_usd": Fraction(0), **dict.fromkeys(EVENT_SUMS, 0)}
    windows: dict[Any, Any] = defaultdict(blank.copy)
    for session in set(by_session) | set(points_of):
        places = sorted(by_session[session], key=lambda e: (counted(e), e.event_sequence, e.event_id))
        mine = [e for e in places if e.route != "drop"]
        own_points = points_of[session]
        if not mine and not own_points:
            continue  # nothing is left of it
        sums: Counter[str] = Counter()
        models: dict[str, Fraction] = defaultdict(Fraction)
        for e in mine:
            sums.update(event_addends(e))
            if e.event_name == "api_request" and e.model:
                models[e.model] += event_addends(e)["cost_usd"]
        gaps = run = 0
        for a, b in itertools.pairwise(places if mine else []):
            if (b.event_sequence or 0) > (a.event_sequence or 0):
                gaps += (b.event_sequence or 0) - (a.event_sequence or 0) - 1
        for a, b in itertools.pairwise(mine):
            if counted(b) - counted(a) <= PAUSE:
                run += counted(b) - counted(a)
        totals: dict[str, Fraction] = defaultdict(Fraction)
        for p, _, growth in series_growth(own_points):
            totals[f"{p.metric}/{p.type}" if p.type else p.metric] += growth
        stamped = [(level(e), (counted(e), e.event_sequence, e.event_id), e.user_key or "") for e in mine]
        stamped += [(level(p), (counted(p), -1, p.point_id), p.user_key or "") for p in own_points]
        best, _, user = max(stamped)
        named = mine or sorted(own_points, key=lambda p: (counted(p), p.point_id))
        team = next((r.team for r in reversed(named) if r.team), None)
        worked = sums["prompts"] or sums["api_requests"] or sums["api_errors"] or sums["tools"]
        ghost = session.startswith("~") or not worked
        sessions[session] = {
            "user_key": user,
            "team": team,
            "ghost": ghost,
            "sequence_gaps": gaps,
            "run_s": run / 1e6,
            "start_time": counted(named[0]),
            "last_time": counted(named[-1]),
            "cost_usd": float(sums["cost_usd"]),
            "model": min(models, key=lambda m: (-float(models[m]), m)) if models else None,
            "event_counts": dict(Counter(e.event_name for e in mine)),
            "metric_totals": {k: float(v) for k, v in totals.items()},
            **{name: sums[name] for name in EVENT_SUMS},
        }
        present = set()
        for e in mine:
            holder = (e.user_key or "") if level(e) == best else user
            for grain, size in (("hour", HOUR), ("day", DAY)):
                key = (holder, team, grain, counted(e) // size * size)
                for name, value in event_addends(e).items():
                    windows[key][name] += value
                if not ghost:
                    present.add(key)
        for key in present:
            windows[key]["sessions"] += 1
        for p, hour, growth in series_growth(own_points):
            if p.metric == "claude_code.cost.usage":
                holder = (p.user_key or "") if level(p) == best else user
                for grain, size in (("hour", HOUR), ("day", DAY)):
                    windows[holder, team, grain, hour * HOUR // size * size]["metric_cost_usd"] += growth
    return sessions, {key: {k: float(v) for k, v in w.items()} for key, w in windows.items() if any(w.values())}


def same(left: Any, right: Any) -> bool:
    """Equal, floats to within the last bits (the model sums fractions, and rounds once as well)."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float) or isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-12)
    return bool(left == right)
