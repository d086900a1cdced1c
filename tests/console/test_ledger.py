"""Usage, security, reliability, cost, the month, adoption, sources and a session: the pages say what SQL says, and what
was sent by the recorded clients, by the fleet, and by a few people to whom rare things happened.

The figures of each page, what they are in SQL and how they are counted without the product: tests/console/proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import httpx
import pytest

from tests.console.conftest import Fed
from tests.console.people import headers_of, person
from tests.console.proof import adoption, overview, rare, reliability, security, session, sources, spending
from tests.console.proof.figure import RARE, TENANTS, Figure, Sql, faults, unlike
from tests.console.proof.reading import Said, read
from tests.console.proof.truth import Truth
from tests.e2e.requests import load
from tests.e2e.stack import eventually
from tests.e2e.truth import differences

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
    eventually(lambda: differences(lambda text: sql(f"{text} where tenant = '{tenant}'"), dict(one.ledger)))
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
        assert page.facts == session.facts(row)
        assert unlike([session.plain(row)], [session.counted(found, id_)]) == []
        assert page.turns == session.turns(found, id_)
