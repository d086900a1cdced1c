"""`millrace doctor`: what a stack's processes, keys, tables and topics say, judged, and what to do about it."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from millrace import command, local_keys, preflight, query, status
from millrace.errors import Fault, QueryFault
from millrace.settings import StackSettings
from schemas.errors import MillraceError
from service import client, senders

Level = Literal["ok", "warn", "bad"]
_MARKS: Mapping[Level, str] = {"ok": "ok  ", "warn": "WARN", "bad": "BAD "}

# The lake commits once a minute; what waits three times as long is late, and ten times that, something stands.
LAG_WARN_S, LAG_BAD_S = 180.0, 1800.0
# Fleets sleep at night and over a weekend's day; a whole day without a record is worth a look.
SILENT_S = 86_400.0
_KEYS_MAX = 50
_VERSIONS_MAX = 10
_REASONS_MAX = 20
_SIGNALS = {"events": "event", "metrics": "metric", "spans": "span"}
_MISSING = {
    "events": "its clients send no events: they need OTEL_LOGS_EXPORTER=otlp",
    "metrics": "its clients send no metrics: they need OTEL_METRICS_EXPORTER=otlp",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.  what: its name.  text: how it is.  todo: what to do; empty when it is well."""

    level: Level
    what: str
    text: str
    todo: str = ""


@dataclass(frozen=True)
class Key:
    """An ingest key in force."""

    tenant: str
    id: str
    name: str
    made: datetime


# Tenant and id of a key; without an id, the records of the tenant that name none.
Sender = tuple[str, str | None]


def look(settings: StackSettings) -> list[Finding]:
    """Everything, in the order of the flow. What cannot be asked is a finding, never an error."""
    rows = status.collect(settings)
    found = [*processes(rows, str(settings.data.absolute() / "logs")), *folder(settings)]
    found += lags(rows)
    in_force: list[Key] | None = None
    if rows[0]["ready"]:
        keys, in_force = _keys()
        found += keys
    return [*found, *_asked(settings, in_force), *routing(rows)]


def processes(rows: Iterable[Mapping[str, Any]], logs: str) -> Iterator[Finding]:
    """Of the rows of `millrace status`: who does its work."""
    for row in rows:
        what = f"process {row['process']}"
        if not row["ready"]:
            todo = f"start it (make run); else its log says why: {logs}/{row['process']}.log"
            yield Finding("bad", what, f"not ready: {_line(row['why']) or 'it does not say why'}", todo)
        elif row["restarts"]:
            times = "once" if row["restarts"] == 1 else f"{row['restarts']} times"
            text = f"ready, but was started again {times}: {_line(row['last_error'])}"
            yield Finding("warn", what, text, f"its log says more: {logs}/{row['process']}.log")
        else:
            yield Finding("ok", what, ", ".join(filter(None, ("ready", _line(row["why"])))))


def folder(settings: StackSettings) -> Iterator[Finding]:
    """The data folder: room, and who may enter it."""
    if not settings.data.is_dir():
        yield Finding("bad", "data folder", f"{settings.data} is not there", "set MILLRACE_DATA to the stack's folder")
        return
    free_mb = shutil.disk_usage(settings.data).free >> 20
    text = f"{settings.data}, {free_mb / 1024:.1f} GiB free"
    if free_mb < settings.disk_free_min_mb:
        yield Finding("bad", "data folder", text, f"free some: the stack needs {settings.disk_free_min_mb} MiB")
    elif (open_to := preflight.exposure(settings.data)) is not None:
        yield Finding("warn", "data folder", open_to.partition(": chmod")[0], f"chmod 700 {settings.data}")
    else:
        yield Finding("ok", "data folder", text)


def lags(rows: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """How far streams and sinks are behind Kafka, by topic."""
    for row in rows:
        if not row["ready"] or not row["lag"]:
            continue
        details = row["details"]
        waits = [one["waiting_s"] for one in details.values() if isinstance(one, dict) and "waiting_s" in one]
        waited = max([*waits, row["lag_s"] or 0.0], key=lambda seconds: seconds or 0.0) or 0.0
        topics = ", ".join(f"{topic} {lag:,}" for topic, lag in row["lag"].items() if lag)
        text = f"{row['lag_total']:,} records wait, {waited:.1f} s at most" + (f" ({topics})" if topics else "")
        level: Level = "bad" if waited > LAG_BAD_S else "warn" if waited > LAG_WARN_S else "ok"
        todo = "" if level == "ok" else "if it grows, it is too slow or stands: look at its last error and its log"
        yield Finding(level, f"lag of {row['process']}", text, todo)


def routing(rows: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """What rules dropped since the gateway was started: on purpose, but whoever misses records should see it."""
    for row in rows:
        for rule, counts in sorted((row["details"].get("dropped_by_rule") or {}).items()):
            said = ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items()))
            yield Finding("ok", "routing", f"rule {rule} dropped {said} since {row['process']} was started")


def arrivals(
    seen: Mapping[Sender, Mapping[str, Mapping[str, Any]]], keys: Sequence[Key] | None, now: datetime
) -> Iterator[Finding]:
    """What came last, by key and signal; what is worth a look comes first.

    Args: seen: sender → signal → last (its receipt), day, hour (records within).  keys: in force; None: nobody knows.
    """
    found = [_unused(key, now) for key in keys or () if (key.tenant, key.id) not in seen]
    names = {(key.tenant, key.id): _line(key.name) for key in keys or ()}
    for (tenant, key_id), signals in sorted(seen.items(), key=lambda one: (one[0][0], one[0][1] or "")):
        said = ", ".join(_flow(noun, signals[one], now) for one, noun in _SIGNALS.items() if one in signals)
        silent = now - max(one["last"] for one in signals.values())
        if key_id is None:
            found.append(Finding("ok", f"tenant {tenant}", f"records that name no key: {said}"))
        elif keys is not None and (tenant, key_id) not in names:
            if silent.total_seconds() <= SILENT_S:
                todo = "whoever used it is refused now: give them another one (millrace key create)"
                found.append(Finding("warn", f"key {key_id}", f"of {tenant}, not in force any more: {said}", todo))
        else:
            said = f"{_whose(tenant, names.get((tenant, key_id), ''))}: {said}"
            found.append(_heard(key_id, said, signals, silent))
    found.sort(key=lambda one: one.level != "warn")
    yield from found[:_KEYS_MAX]
    if len(found) > _KEYS_MAX:
        yield Finding("ok", "keys", f"{len(found) - _KEYS_MAX:,} more are not shown; the console's Sources are")


def _flow(noun: str, heard: Mapping[str, Any], now: datetime) -> str:
    return f"last {noun} {_age(now - heard['last'])} ago ({heard['day']:,} in 24 h, {heard['hour']:,} in 1 h)"


def _whose(tenant: str, name: str) -> str:
    return f"of {tenant} ({name})" if name else f"of {tenant}"


def _unused(key: Key, now: datetime) -> Finding:
    said = "never used" if now - key.made < senders.KNOWN else f"not used in {senders.KNOWN.days} days"
    todo = f"connect a client: the console's page /start says how; or end it: millrace key revoke {key.id}"
    return Finding("warn", f"key {key.id}", f"{_whose(key.tenant, _line(key.name))}: {said}", todo)


def _heard(key_id: str, said: str, signals: Mapping[str, Any], silent: timedelta) -> Finding:
    if silent.total_seconds() > SILENT_S:
        todo = "do its people still work? were their managed settings changed? else: millrace key revoke " + key_id
        return Finding("warn", f"key {key_id}", f"{said}; silent for {_age(silent)}", todo)
    missing = next((todo for signal, todo in _MISSING.items() if signal not in signals), "")
    return Finding("warn" if missing else "ok", f"key {key_id}", said, missing)


def versions(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Which clients had sessions.  rows: of senders.versions, one more than are told of."""
    for row in rows[:_VERSIONS_MAX]:
        name = " ".join(str(row[one]) for one in ("service_name", "app_version", "app_entrypoint") if row[one])
        text = f"{_line(name) or 'without a name'}: {row['sessions']:,} sessions of {row['users']:,} users in 30 d"
        yield Finding("ok", "clients", text)
    if len(rows) > _VERSIONS_MAX:
        yield Finding("ok", "clients", "more are not shown; the console's Sources are")


def silent(rows: Sequence[Mapping[str, Any]], now: datetime) -> Finding:
    """Who has no sessions any more.  rows: of senders.silent_users, the latest first."""
    total = rows[0]["total"] if rows else 0
    text = f"{total:,} with sessions in 30 d had none for {senders.SILENT_DAYS} d"
    if rows:
        last = _age(now - datetime.fromisoformat(rows[0]["last"]))
        text += f", the latest for {last}; the console's Sources say who"
    return Finding("ok", "users", text)


def rejections(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What was not taken; what is over for a day is no longer worth a look.  rows: of senders.rejections."""
    if not rows:
        yield Finding("ok", "rejected", f"nothing in {senders.REJECTED.days} d")
    for row in rows:
        by = f" by key {row['ingest_key_id']}" if row["ingest_key_id"] else ""
        text = (
            f"{row['week']:,} {row['signal'] or ''} of tenant {row['tenant'] or 'unknown'}{by} at {row['stage']} "
            f"in {senders.REJECTED.days} d ({row['day']:,} in 24 h): "
        )
        error = f" ({_line(row['error'])[:200]})" if row["error"] else ""
        said = " ".join(f"{text}{row['reason']}{error}".split())
        if row["day"]:
            yield Finding("warn", "rejected", said, client.REJECTED.get(row["reason"], client.REJECTED_ELSE))
        else:
            yield Finding("ok", "rejected", said)


def oddities(row: Mapping[str, Any]) -> Iterator[Finding]:
    """Events of a day whose time or content is not as it should be.  row: events, suspect, late, broken."""
    if row["suspect"]:
        text = f"{row['suspect']:,} of {row['events']:,} events in 24 h have a time that cannot be"
        yield Finding(
            "warn", "clocks", text, "set the clocks of those machines: they count in the hour of their receipt"
        )
    else:
        yield Finding("ok", "clocks", f"{row['late']:,} of {row['events']:,} events in 24 h came over 10 min late")
    if row["broken"]:
        text = f"{row['broken']:,} events in 24 h have JSON inside that cannot be read"
        yield Finding(
            "warn", "content", text, "select pipeline_error, count(*) from events group by 1: which client is it?"
        )


def render(found: Sequence[Finding]) -> str:
    """For a terminal."""
    width = max(len(one.what) for one in found)
    lines = []
    for one in found:
        lines.append(f"{_MARKS[one.level]}  {one.what:{width}}  {one.text}")
        if one.todo:
            lines.append(f"{'':4}  {'':{width}}  → {one.todo}")
    counts = Counter(one.level for one in found)
    if counts["bad"] or counts["warn"]:
        lines.append(f"{counts['bad']} bad, {counts['warn']} to look at, {counts['ok']} well")
    else:
        lines.append(f"all {counts['ok']} are well")
    return "\n".join(lines) + "\n"


def objects(found: Sequence[Finding]) -> list[dict[str, str]]:
    """For --json."""
    return [asdict(one) for one in found]


def _keys() -> tuple[list[Finding], list[Key] | None]:
    """What is to be said of the keys in force, and those of them to send with."""
    try:
        settings, kafka = command.kafka()
        keys = asyncio.run(local_keys.in_force(kafka, settings.prefix))
    except MillraceError as error:
        return [Finding("bad", "keys", f"cannot be read: {_line(error)}", "see: millrace topics list")], None
    kinds = Counter(str(key["kind"]) for key in keys)
    ingest = [
        Key(key["tenant"], key["id"], key["name"], datetime.fromisoformat(key["created"]))
        for key in keys
        if key["kind"] == "ingest"
    ]
    text = ", ".join(f"{kinds[kind]} {kind}" for kind in ("ingest", "query", "admin")) + " in force"
    if not ingest:
        todo = "millrace key create --tenant T, or the console's page /start"
        return [Finding("bad", "keys", f"{text}: nobody can send", todo)], []
    return [Finding("ok", "keys", f"{text}; tenants that may send: {len({key.tenant for key in ingest})}")], ingest


def _asked(settings: StackSettings, in_force: Sequence[Key] | None) -> list[Finding]:
    """What the SQL service knows."""
    now = datetime.now(UTC)
    url = settings.sql_url or f"http://127.0.0.1:{settings.sql_port}"
    try:
        key = settings.key.get_secret_value() if settings.key else local_keys.read_key(settings.data, "admin")
        seen = _seen(url, key, in_force or (), now)
        clients = _rows(url, key, senders.versions(now, _VERSIONS_MAX + 1))
        users = _rows(url, key, senders.silent_users(now, senders.SILENT_DAYS, 1))
    except Fault as error:
        return [Finding("bad", "SQL", _line(error.cause), error.cure or "see: millrace status")]
    found = [Finding("ok", "SQL", f"{url} answers"), *arrivals(seen, in_force, now)]
    found += [*versions(clients), silent(users, now)]
    try:
        found += oddities(_rows(url, key, _ODDITIES)[0])
        found += rejections(_rows(url, key, senders.rejections(now, _REASONS_MAX)))
    except QueryFault as error:
        found.append(Finding("warn", "rejected", f"cannot be read with this key: {_line(error)}", "use an admin key"))
    return found


_ODDITIES = (
    "SELECT count(*) AS events, count(*) FILTER (clock_suspect) AS suspect, "
    "count(*) FILTER (received_time - event_time > INTERVAL 10 MINUTE) AS late, "
    "count(*) FILTER (pipeline_error IS NOT NULL) AS broken "
    "FROM events WHERE received_time >= now() - INTERVAL 1 DAY"
)


def _seen(url: str, key: str, in_force: Iterable[Key], now: datetime) -> dict[Sender, dict[str, dict[str, Any]]]:
    rows = _rows(url, key, senders.of_day(senders.SIGNALS, now))
    before = senders.before_day(senders.SIGNALS, [one.id for one in in_force], rows, now)
    if before is not None:
        rows += _rows(url, key, before)
    seen: dict[Sender, dict[str, dict[str, Any]]] = {}
    for row in rows:
        signal = {"last": datetime.fromisoformat(row["last"]), "day": row["day"], "hour": row["hour"]}
        seen.setdefault((row["tenant"], row["ingest_key_id"]), {})[row["signal"]] = signal
    return seen


def _rows(url: str, key: str, sql: str) -> list[dict[str, Any]]:
    answer = query.ask(url, key, sql, None)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def _age(length: timedelta) -> str:
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _line(value: object) -> str:
    """On one line, without what could move a terminal's cursor: errors quote what clients sent."""
    return "".join(char if char.isprintable() else " " for char in " ".join(str(value or "").split()))
