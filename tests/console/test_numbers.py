"""The numbers on the pages are those of SQL, and of the ledger of what was sent: recorded clients, and the fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page

from console import shown
from tests.console.browser import Window
from tests.console.conftest import CAPTURES, Fed
from tests.e2e import truth

pytestmark = [pytest.mark.slow]

Ledger = Mapping[str, Any]


def summed(*names: str) -> Callable[[Ledger], float]:
    """Over all sessions."""
    return lambda ledger: sum(one[name] for one in ledger["sessions"].values() for name in names)


def measured(metric: str) -> Callable[[Ledger], float]:
    """The sum of a metric over all sessions."""
    return lambda ledger: sum(one["metric_totals"].get(metric, 0) for one in ledger["sessions"].values())


def counted(holds: Callable[[Mapping[str, Any]], object]) -> Callable[[Ledger], float]:
    """The sessions, ghosts left out, of which something holds."""
    return lambda ledger: sum(bool(not one["ghost"] and holds(one)) for one in ledger["sessions"].values())


def people(ledger: Ledger) -> float:
    """Who had a session that is no ghost."""
    return len({one["user_account_uuid"] or one["user_id"] for one in ledger["sessions"].values() if not one["ghost"]})


@dataclass(frozen=True)
class Number:
    """path, title: where it is shown.  unit: of console.shown.  sql: asks for it; {tenant}.  ledger: says it."""

    path: str
    title: str
    unit: str
    sql: str
    ledger: Callable[[Ledger], float]


def _of_sessions(what: str) -> str:
    return f"select {what} from sessions where tenant = '{{tenant}}'"


def _of_hours(what: str) -> str:
    return f"select {what} from session_hours where tenant = '{{tenant}}'"


SESSIONS = _of_sessions("count(*) filter (not ghost)")
ERRONEOUS = _of_sessions("count(*) filter (errors > 0 and not ghost)")
NUMBERS = (
    Number("/", "Total cost", "usd", _of_hours("sum(spend_usd)"), summed("cost_usd")),
    Number(
        "/",
        "Total tokens",
        "tokens",
        _of_hours("sum(input_tokens + output_tokens)"),
        summed("input_tokens", "output_tokens"),
    ),
    Number("/", "Sessions", "count", SESSIONS, counted(lambda _: True)),
    Number("/", "Commits", "count", _of_hours("sum(commits)"), measured("claude_code.commit.count")),
    Number("/", "Pull requests", "count", _of_hours("sum(pull_requests)"), measured("claude_code.pull_request.count")),
    Number("/", "Prompts", "count", _of_hours("sum(prompts)"), summed("prompts")),
    Number("/", "Errors", "count", _of_hours("sum(errors)"), summed("errors")),
    Number("/", "Refusals", "count", _of_hours("sum(refusals)"), summed("refusals")),
    Number("/cost", "Total cost", "usd", _of_hours("sum(spend_usd)"), summed("cost_usd")),
    Number("/cost", "Sessions", "count", SESSIONS, counted(lambda _: True)),
    Number(
        "/security/permissions",
        "Decisions",
        "count",
        _of_sessions("sum(accepts) + sum(rejects)"),
        summed("accepts", "rejects"),
    ),
    Number("/security/refusals", "Refusals", "count", _of_sessions("sum(refusals)"), summed("refusals")),
    Number("/reliability", "API errors", "count", _of_sessions("sum(api_errors)"), summed("api_errors")),
    Number(
        "/reliability",
        "Retries exhausted",
        "count",
        _of_sessions("sum(retries_exhausted)"),
        summed("retries_exhausted"),
    ),
    Number("/reliability", "Failed tool calls", "count", _of_sessions("sum(tool_failures)"), summed("tool_failures")),
    Number("/reliability", "Internal errors", "count", _of_sessions("sum(internal_errors)"), summed("internal_errors")),
    Number("/reliability", "Sessions with errors", "count", ERRONEOUS, counted(lambda one: one["errors"])),
    Number("/reliability/latency", "Tool calls", "count", _of_sessions("sum(tools)"), summed("tools")),
    Number("/reliability/versions", "Sessions", "count", SESSIONS, counted(lambda _: True)),
    Number(
        "/adoption", "Active users in the range", "count", _of_hours("count(distinct user_key) filter (active)"), people
    ),
)


@pytest.fixture(scope="module", params=["captures", "local"])
def tenant(request: pytest.FixtureRequest) -> str:
    """Whose numbers."""
    return str(request.param)


@pytest.fixture(scope="module")
def ledger(fed: Fed, tenant: str) -> Ledger:
    """What was sent as this tenant, counted the slow and obvious way."""
    return truth.truth(CAPTURES if tenant == "captures" else [fed.demo])


def value(page: Page, title: str) -> str:
    """What the tile of this title says."""
    tile = page.locator(".stat", has=page.get_by_role("heading", name=title, exact=True))
    return tile.locator(".stat-value").inner_text()


@pytest.mark.parametrize("path", dict.fromkeys(one.path for one in NUMBERS))
def test_numbers_are_those_of_sql_and_of_the_ledger(
    fed: Fed, window: Callable[..., Window], tenant: str, ledger: Ledger, path: str
) -> None:
    ask = fed.stack.sql(fed.stack.admin_key())
    page = window().go(f"{path}?range=30d&tenant={tenant}")
    found = {}
    for one in NUMBERS:
        if one.path == path:
            (stored,) = ask(one.sql.format(tenant=tenant))[0].values()
            found[one.title] = (value(page, one.title), stored, one.ledger(ledger))
    units = {one.title: one.unit for one in NUMBERS if one.path == path}
    assert {title: texts[0] for title, texts in found.items()} == {
        title: shown.by_unit(stored, units[title]) for title, (_, stored, _) in found.items()
    }
    assert {title: texts[1] for title, texts in found.items()} == pytest.approx(
        {title: said for title, (_, _, said) in found.items()}, abs=1e-6
    )


def test_the_sums_of_the_list_are_those_of_sql_and_of_the_ledger(
    fed: Fed, window: Callable[..., Window], tenant: str, ledger: Ledger
) -> None:
    page = window().go(f"/sessions?range=30d&tenant={tenant}")
    sums = "count(*) as sessions, sum(prompts) as prompts, sum(spend_usd) as cost_usd, sum(tools) as tools, "
    sums += "sum(input_tokens + output_tokens) as tokens, sum(errors) as errors"
    (row,) = fed.stack.sql(fed.stack.admin_key())(
        f"select {sums} from sessions where tenant = '{tenant}' and not ghost"
    )
    alive = {"sessions": {id_: one for id_, one in ledger["sessions"].items() if not one["ghost"]}}
    said = {name: summed(name)(alive) for name in ("prompts", "cost_usd", "tools", "errors")}
    said |= {"sessions": len(alive["sessions"]), "tokens": summed("input_tokens", "output_tokens")(alive)}
    assert row == pytest.approx(said, abs=1e-6)
    words = page.locator(".sums").inner_text()
    assert words.split(" · ") == [
        f"{shown.count(row['sessions'])} sessions",
        f"{shown.count(row['prompts'])} prompts",
        shown.usd(row["cost_usd"]),
        f"{shown.count(row['tools'])} tool calls",
        f"{shown.tokens(row['tokens'])} tokens",
        f"{shown.count(row['errors'])} errors",
    ]


# The charts of the overview: title → what is in it → of the ledger.
DRAWN: Mapping[str, Mapping[str, Callable[[Ledger], float]]] = {
    "Token usage": {
        "Input": summed("input_tokens"),
        "Output": summed("output_tokens"),
        "Cache read": summed("cache_read_tokens"),
        "Cache creation": summed("cache_creation_tokens"),
    },
    "Active time": {
        "User": measured("claude_code.active_time.total/user"),
        "CLI": measured("claude_code.active_time.total/cli"),
    },
    "Lines of code": {
        "Added": measured("claude_code.lines_of_code.count/added"),
        "Removed": measured("claude_code.lines_of_code.count/removed"),
    },
    "Cost by model": {"": summed("cost_usd")},
    "API requests by model": {"": summed("api_requests")},
    "Tool calls": {"": summed("tools")},
    "Accept and reject decisions": {"accept": summed("accepts"), "reject": summed("rejects")},
}


def drawn(page: Page) -> dict[str, dict[str, float]]:
    """Title of a chart → series → sum of its values."""
    page.wait_for_function(f"document.querySelectorAll('figure [data-chart]').length >= {len(DRAWN)}")
    found = page.locator("figure", has=page.locator("[data-chart]")).evaluate_all(
        "all => all.map(one => [one.querySelector('figcaption').innerText,"
        " JSON.parse(one.querySelector('[data-chart] script').textContent).series])"
    )
    return {title: {one["name"]: sum(one["values"]) for one in series} for title, series in found}


def test_the_charts_of_the_overview_add_up_to_the_ledger(
    window: Callable[..., Window], tenant: str, ledger: Ledger
) -> None:
    found = drawn(window().go(f"/?range=30d&tenant={tenant}"))
    told = {
        (title, part): sum(value for name, value in found[title].items() if name.startswith(part))
        for title, parts in DRAWN.items()
        for part in parts
    }
    said = {(title, part): of(ledger) for title, parts in DRAWN.items() for part, of in parts.items()}
    assert told == pytest.approx(said, abs=1e-6)
    assert all(sum(said[title, part] for part in parts) for title, parts in DRAWN.items()), "nothing shows nothing"
