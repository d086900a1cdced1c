"""The figures of sources."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from tests.console.proof.figure import Figure
from tests.console.proof.truth import DAY_US, LATE_US, Record, Row, Truth, grouped

SESSIONS = "from sessions s where s.tenant = '{tenant}' and not s.ghost"
SIGNALS = ("Events", "Metrics", "Spans")
CLIENTS = {None: "code", "cli": "cli", "sdk-cli": "sdk"}


def sent(t: Truth) -> dict[str, list[Record]]:
    return dict(zip(SIGNALS, (t.events, t.points, t.spans), strict=True))


def late(t: Truth, rows: Iterable[Record]) -> int:
    """Those that were sent more than 10 minutes after they had happened."""
    return sum(one.at < t.sent - LATE_US for one in rows)


def source(t: Truth, one: Record) -> str:
    return f"{t.tenant} {one['service.name']} · {CLIENTS[one['app.entrypoint']]}"


def by_source(t: Truth) -> list[Row]:
    """Source, signal, records."""
    rows = [(source(t, one), f"{name} 24 h") for name, some in sent(t).items() for one in some]
    rows += [(source(t, one), "Late") for some in sent(t).values() for one in some if late(t, [one])]
    return grouped(rows, {"at": lambda one: one[0], "series": lambda one: one[1]}, {"value": len})


def silent(t: Truth) -> list[Row]:
    """Who had sessions within 30 days, but none within 7."""
    rows = grouped(
        list(t.sessions.values()),
        {"User": lambda one: t.who(t.user_of(one)), "Team": lambda one: one["team"], "Tenant": lambda _: t.tenant},
        {"Sessions in 30 d": len, "Last": lambda rows: max(one["last_ns"] for one in rows) // 1000},
    )
    return [row for row in rows if row["Last"] < time.time_ns() // 1000 - 7 * DAY_US]


def received(name: str) -> str:
    return f"from {name.lower()} r where r.tenant = '{{tenant}}'"


HAPPENED = {"Events": "r.event_time", "Metrics": "r.event_time", "Spans": "coalesce(r.end_time, r.start_time)"}
IS_LATE = {name: f"epoch_us(r.received_time) - epoch_us({at}) > {LATE_US}" for name, at in HAPPENED.items()}
SOURCE = "r.tenant || ' ' || r.service_name || ' · ' || r.client"


def counts(condition: Callable[[str], str]) -> str:
    return "(" + " + ".join(f"(select count(*) {received(name)} and {condition(name)})" for name in SIGNALS) + ")"


SOURCES = (
    Figure(
        "tiles",
        f"""select {counts(lambda _: "true")} as "Last 24 hours", {counts(IS_LATE.__getitem__)} as "Late",
        {counts(lambda _: "r.pipeline_error is not null")} as "Broken JSON" """,
        lambda t: [
            {
                "Last 24 hours": sum(map(len, sent(t).values())),
                "Late": sum(late(t, rows) for rows in sent(t).values()),
                "Broken JSON": sum(one.broken for one in t.events),
            }
        ],
    ),
    Figure(
        "Sources × Source",
        "select x.at, x.series, sum(x.value) as value from ("
        + " union all ".join(
            f"select {SOURCE} as at, '{name} 24 h' as series, count(*) as value {received(name)} group by 1 union all "
            f"select {SOURCE}, 'Late', count(*) {received(name)} and {IS_LATE[name]} group by 1"
            for name in SIGNALS
        )
        + ") x group by 1, 2 having sum(x.value) > 0",
        by_source,
    ),
    Figure(
        "Ingest keys × Key",
        " union all ".join(
            f"select '{name} 24 h' as series, count(*) as value {received(name)} having count(*) > 0"
            for name in SIGNALS
        ),
        lambda t: [{"series": f"{name} 24 h", "value": len(rows)} for name, rows in sent(t).items() if rows],
    ),
    Figure(
        "Clients by version",
        'select s.app_version as "Version", s.service_name as "Service", s.app_entrypoint as "Entrypoint", '
        'count(distinct s.user_key) as "Users", count(*) as "Sessions", max(s.last_time) as "Last" '
        f"{SESSIONS} group by 1, 2, 3",
        lambda t: grouped(
            list(t.sessions.values()),
            {
                "Version": lambda one: one["app_version"],
                "Service": lambda one: one["service_name"],
                "Entrypoint": lambda one: one["app_entrypoint"],
            },
            {
                "Users": lambda rows: len({t.user_of(one) for one in rows}),
                "Sessions": len,
                "Last": lambda rows: max(one["last_ns"] for one in rows) // 1000,
            },
        ),
        {"Last": "time"},
    ),
    Figure(
        "Silent users",
        'select coalesce(p.user_email, left(s.user_key, 11) || \'…\') as "User", s.team as "Team", '
        's.tenant as "Tenant", count(*) as "Sessions in 30 d", max(s.last_time) as "Last" '
        "from sessions s left join people p on p.tenant = s.tenant and p.user_key = s.user_key "
        "where s.tenant = '{tenant}' and not s.ghost group by 1, 2, 3 having max(s.last_time) < now() - interval 7 day",
        silent,
        {"Last": "time"},
    ),
)

PAGES: Mapping[str, tuple[Figure, ...]] = {"/sources": SOURCES}
