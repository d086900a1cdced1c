"""Usage, security, reliability, cost, the month, adoption, sources and a session: the pages say what SQL says, and what
was sent by the recorded clients, by the fleet, and by a few people to whom rare things happened.

The figures of each page, what they are in SQL and how they are counted without the product: tests/console/proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from urllib.parse import urlencode

import httpx
import pytest

from tests.console.conftest import Fed, until_stored
from tests.console.people import headers_of, person
from tests.console.proof import adoption, overview, rare, reliability, security, session, sources, spending
from tests.console.proof.figure import RARE, TENANTS, Figure, Sql, faults, text, unlike
from tests.console.proof.reading import Said, read, totals
from tests.console.proof.truth import DAY_US, HOUR_US, Truth
from tests.e2e.requests import load

pytestmark = [pytest.mark.slow]

PAGES: Mapping[str, tuple[Figure, ...]] = {
    **overview.PAGES,
    **security.PAGES,
    **reliability.PAGES,
    **spending.PAGES,
    **adoption.PAGES,
    **sources.PAGES,
}
CASES = [
    (path, tenant)
    for tenant in TENANTS
    for path, figures in PAGES.items()
    if any(tenant in figure.tenants for figure in figures)
]
# So many of a tenant are looked at, those with the most events.
SESSIONS = 3


@pytest.fixture(scope="module")
def told(fed: Fed, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Truth]:
    """Tenant → what was sent as it; it is all there."""
    folder = tmp_path_factory.mktemp("rare")
    for number, request in enumerate(rare.requests()):
        (folder / f"{number:05}-http-{request.signal}.json").write_bytes(request.body)
    fed.send(load(folder), RARE)
    sent = {"captures": fed.captures, "local": [fed.demo], RARE: [folder]}
    found = {tenant: Truth(tenant, folders) for tenant, folders in sent.items()}
    sql = fed.stack.sql(fed.stack.admin_key())
    for tenant, one in found.items():
        one.names = _there(sql, tenant, one)
    return found


def _there(sql: Sql, tenant: str, one: Truth) -> dict[str, str]:
    """Identity → key of a tenant's people, once all that it sent is there."""
    until_stored(sql, tenant, dict(one.ledger))
    rows = sql(f"select * from people where tenant = '{tenant}'")
    return {row["user_account_uuid"] or row["user_email"] or row["user_id"]: row["user_key"] for row in rows}


@pytest.fixture(scope="module")
def pages(fed: Fed) -> Iterator[Callable[[str, str], Said]]:
    """Pages as an admin of a tenant reads them, each got once."""
    with httpx.Client(base_url=fed.base, timeout=60) as http:

        @cache
        def page(tenant: str, path: str) -> Said:
            who = headers_of(fed.secret, person("admin", tenant=tenant))
            answer = http.get(path, headers=who | {"HX-Request": "true"})  # as a page asks for what takes longer
            assert answer.status_code == 200, (path, answer.status_code, answer.text[-500:])
            found = read(answer.text)
            assert found.faults == []
            return found

        yield page


@pytest.mark.parametrize(("path", "tenant"), CASES)
def test_a_page_says_what_sql_says_and_what_was_sent(
    fed: Fed, pages: Callable[[str, str], Said], told: Mapping[str, Truth], path: str, tenant: str
) -> None:
    sql = fed.stack.sql(fed.stack.admin_key())
    page = pages(tenant, f"{path}{'&' if '?' in path else '?'}range=30d")
    found = [
        (figure.of, *fault)
        for figure in PAGES[path]
        if tenant in figure.tenants
        for fault in faults(page, sql, told[tenant], figure, tenant=tenant)
    ]
    assert found == []


def named(column: str, said: str, value: str | None) -> Callable[[Truth], Truth]:
    """What is left by a filter that records without a session can meet, too. said: as they say it."""
    return lambda t: t.only(with_(column, value)(t), lambda one: one[said] == value)


def with_(column: str, value: str | None) -> Callable[[Truth], list[str]]:
    return lambda t: [id_ for id_, one in t.ledger["sessions"].items() if one[column] == value]


def asked_of(model: str) -> Callable[[Truth], set[str]]:
    """Sessions that asked this model, be it beside others."""
    return lambda t: {str(one.session) for one in t.named("api_request") if one["model"] == model}


# The filters of pages, and what of RARE each leaves. Records without a session can meet the first alone.
FILTERS: Mapping[str, Callable[[Truth], Truth]] = {
    "team=core": lambda t: t.only(having(t, "team", "core"), lambda one: one["team.id"] == "core"),
    "department=(none)": lambda t: t.only(having(t, "department", None), lambda one: one["department"] is None),
    "cost_center=cc-1": lambda t: t.only(having(t, "cost_center", "cc-1"), lambda one: one["cost_center"] == "cc-1"),
    "version=2.1.100": lambda t: t.only(having(t, "app_version", "2.1.100")),
    "entrypoint=sdk-cli": lambda t: t.only(having(t, "app_entrypoint", "sdk-cli")),
    "model=haiku-of-tests": lambda t: t.only({one.session for one in t.named("api_request") if one["model"] == HAIKU}),
}
HAIKU = "haiku-of-tests"
# Who is new is asked of all that somebody did, by whatever; what a session has many of, days of users do not know.
WHOLE = ("team", "department")
PATHS = [path for path, tenant in CASES if tenant == RARE and path != "/sources"]


def having(t: Truth, column: str, value: str | None) -> list[str]:
    """Sessions."""
    return [id_ for id_, one in t.ledger["sessions"].items() if one[column] == value]


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        (path, chosen)
        for path in PATHS
        for chosen in FILTERS
        if (chosen.startswith(WHOLE) or not path.startswith(("/adoption", "/report")))
        and (chosen.startswith("team") or "?by=" not in path)  # which are told by the same hours and requests
    ],
)
def test_a_page_with_a_filter_says_what_is_left_by_it(
    fed: Fed, pages: Callable[[str, str], Said], told: Mapping[str, Truth], path: str, chosen: str
) -> None:
    name, value = chosen.split("=")
    page = pages(RARE, f"{path}{'&' if '?' in path else '?'}{urlencode({name: value, 'range': '30d'})}")
    left = FILTERS[chosen](told[RARE])
    if path.startswith(("/security", "/reliability")):  # of events, which name a model themselves
        left.events = [one for one in left.events if name != "model" or one["model"] in (None, value)]
    sql = fed.stack.sql(fed.stack.admin_key())
    figures = [replace(one, sql="") for one in PAGES[path] if RARE in one.tenants]
    assert [(one.of, *fault) for one in figures for fault in faults(page, sql, left, one)] == []


# Chart of the overview → the sums of hours that its total is, and their unit.
TOTALS = {
    "Cost by model": (("usd",), "usd"),
    "Token usage": (("input", "output", "cache_read", "cache_creation"), "tokens"),
    "API requests by model": (("requests",), "count"),
    "Active time": (("active_user_s", "active_cli_s"), "seconds"),
    "Lines of code": (("lines_added", "lines_removed"), "count"),
}


def test_the_period_before_is_what_was_sent_in_it(fed: Fed, told: Mapping[str, Truth]) -> None:
    hours, length = told[RARE].hours, 5 * DAY_US
    end = max(one.at for one in hours) + HOUR_US
    query = {
        name: f"{datetime.fromtimestamp(at / 1e6, UTC):%Y-%m-%dT%H:%MZ}"
        for name, at in (("from", end - length), ("to", end))
    }
    who = headers_of(fed.secret, person("admin", tenant=RARE)) | {"HX-Request": "true"}
    page = httpx.get(f"{fed.base}/", params=query, headers=who, timeout=60).text
    compared = {}
    for title, note in totals(page).items():
        if title in TOTALS:
            names, unit = TOTALS[title]
            now, before = (
                sum(one[name] for one in hours for name in names if at - length <= one.at < at)
                for at in (end, end - length)
            )
            compared[title] = now, before
            assert note.startswith(f"Total {text(now, unit)}, before {text(before, unit)}"), (title, note)
    assert all(min(compared[title]) > 0 for title in ("Cost by model", "Token usage", "API requests by model")), (
        compared
    )


def test_every_figure_is_of_something(told: Mapping[str, Truth]) -> None:
    """A page that always said nothing would else agree with three tenants to whom nothing happened."""
    for path, figures in PAGES.items():
        for figure in figures:
            counted = [row for tenant in figure.tenants for row in figure.truth(told[tenant])]
            titles = {name for row in counted for name in row}
            nothing = [name for name in titles if not any(row[name] for row in counted)]
            assert counted, (path, figure.of)
            assert nothing == [], (path, figure.of)


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_session_says_what_sql_says_and_what_was_sent(
    fed: Fed, pages: Callable[[str, str], Said], told: Mapping[str, Truth], tenant: str
) -> None:
    sql, found = fed.stack.sql(fed.stack.admin_key()), told[tenant]
    busiest = sorted(found.sessions, key=lambda id_: -sum(found.sessions[id_]["event_counts"].values()))[:SESSIONS]
    for id_ in busiest:
        of = f"tenant = '{tenant}' and session_id = '{id_}'"
        (row,) = sql(f"select {', '.join(session.STORED)} from sessions where {of}")
        page = pages(tenant, f"/sessions/{tenant}/{id_}")
        facts = dict(page.facts)
        assert facts.pop("State")[0] in ("open", "idle", "closed")  # by the time that it is now
        assert facts == session.facts(row)
        assert unlike([session.plain(row)], [session.counted(found, id_)]) == []
        assert page.turns == session.turns(found, id_)
