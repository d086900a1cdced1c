"""Who gets to which page, and what of others' they find there: every route against every role."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape

import httpx
import pytest
from starlette.routing import compile_path

from console.pages import PAGES
from console.people import Person
from console.web import MENU, Page
from schemas.roles import ACTOR_HEADER, stated
from tests.console.conftest import Pages, cookie_header
from tests.console.people import READER, person
from tests.sinks.query.conftest import TENANTS

pytestmark = pytest.mark.asyncio(loop_scope="session")

WHO: dict[str, Person | None] = {
    "nobody": None,
    "no role": person(tenant="acme"),
    "a role that is none": person("ended", tenant="acme"),
    "viewer": person("viewer", tenant="acme"),
    "analyst": person("analyst", tenant="acme"),
    "security": person("security", tenant="acme"),
    "reader": person(READER.name, tenant="acme"),
    "reader of globex": person(READER.name, tenant="globex"),
    "reader without a tenant": person(READER.name),
    "admin of one tenant": person("admin", tenant="acme"),
    "admin of all": person("admin"),
}
ALL = frozenset(WHO)
NONE: frozenset[str] = frozenset()
SIGNED_IN = ALL - {"nobody"}
# Whom a role gives something of some rows.
SEES = SIGNED_IN - {"no role", "a role that is none", "reader without a tenant"}
AUDITORS = frozenset({"security", "admin of one tenant", "admin of all"})
ADMINS = frozenset({"admin of one tenant", "admin of all"})
ROOT = frozenset({"admin of all"})
# Who sees a session of a tenant, and who reads its content.
ACME = SEES - {"reader of globex"}
GLOBEX = frozenset({"reader of globex", "admin of all"})
READ_ACME = frozenset({"reader", "admin of one tenant", "admin of all"})
READ_GLOBEX = GLOBEX

# What is asked for → who gets there. Written down, and not taken from what the routes say of themselves.
MAY: Mapping[str, frozenset[str]] = {
    "GET /signin": ALL,
    # Without a link, or a provider, these let nobody in.
    "GET /signin/link": NONE,
    "GET /signin/oidc": NONE,
    "GET /signin/callback": NONE,
    "POST /signout": SIGNED_IN,
    "GET /signout": SIGNED_IN,
    "GET /admin": ADMINS,
    "GET /admin/tenants": ADMINS,
    "GET /admin/keys": ADMINS,
    "POST /admin/keys/create": ADMINS,
    "GET /admin/keys/create": ADMINS,  # this and others like it only lead to the page that has the form
    "POST /admin/keys/rotate": ADMINS,
    "GET /admin/keys/rotate": ADMINS,
    "POST /admin/keys/revoke": ADMINS,
    "GET /admin/keys/revoke": ADMINS,
    "GET /admin/roles": ADMINS,
    "POST /admin/roles": ROOT,
    "GET /admin/roles/viewer": ADMINS,
    "POST /admin/roles/viewer/grant": ROOT,
    "GET /admin/roles/viewer/grant": ADMINS,
    "POST /admin/roles/viewer/revoke": ROOT,
    "GET /admin/roles/viewer/revoke": ADMINS,
    "POST /admin/roles/viewer/delete": ROOT,
    "GET /admin/roles/viewer/delete": ADMINS,
    "GET /admin/policies": ADMINS,
    "POST /admin/policies/change": ADMINS,
    "GET /admin/policies/change": ADMINS,
    "POST /admin/policies/delete": ADMINS,
    "GET /admin/policies/delete": ADMINS,
    "GET /admin/audit": AUDITORS,
    "POST /admin/audit/signout": ROOT,
    "GET /admin/audit/signout": AUDITORS,
    "GET /adoption": SIGNED_IN,  # it only leads to where it is now
    "GET /adoption.csv": SEES,
    "GET /cost": SEES,
    "GET /cost.csv": SEES,
    "GET /security/mcp": SEES,
    "GET /security/extensions": SEES,
    "GET /": SEES,
    "GET /overview/choices": SEES,
    "GET /reliability": SEES,
    "GET /reliability/latency": SEES,
    "GET /reliability/versions": SEES,
    "GET /report": SEES,
    "GET /report.csv": SEES,
    "GET /security": SEES,
    "GET /security/commands": SEES,
    "GET /security/permissions": SEES,
    "GET /security/refusals": SEES,
    "GET /sessions": SEES,
    "GET /sessions.csv": SEES,
    "GET /sessions/acme/acme-session-1": ACME,
    "GET /sessions/acme/acme-session-1?event=acme-event-1": ACME,
    "GET /sessions/acme/acme-session-1/turn?turn=": ACME,
    "GET /sessions/acme/acme-session-1/events/acme-event-1": ACME,
    "GET /sessions/acme/acme-session-1/events/acme-event-1/content": SIGNED_IN,  # it only leads to the event
    "POST /sessions/acme/acme-session-1": NONE,
    "POST /sessions/acme/acme-session-1/turn?turn=": NONE,
    "POST /sessions/acme/acme-session-1/events/acme-event-1": NONE,
    "POST /sessions/acme/acme-session-1/events/acme-event-1/content": READ_ACME,
    "GET /sessions/globex/globex-session-1": GLOBEX,
    "GET /sessions/globex/globex-session-1?event=globex-event-1": GLOBEX,
    "GET /sessions/globex/globex-session-1/turn?turn=": GLOBEX,
    "GET /sessions/globex/globex-session-1/events/globex-event-1": GLOBEX,
    "GET /sessions/globex/globex-session-1/events/globex-event-1/content": SIGNED_IN,
    "POST /sessions/globex/globex-session-1": NONE,
    "POST /sessions/globex/globex-session-1/turn?turn=": NONE,
    "POST /sessions/globex/globex-session-1/events/globex-event-1": NONE,
    "POST /sessions/globex/globex-session-1/events/globex-event-1/content": READ_GLOBEX,
    # A session or an event of another tenant's below one's own.
    "POST /sessions/acme/globex-session-1/events/globex-event-1/content": NONE,
    "GET /sessions/acme/acme-session-1/events/globex-event-1": NONE,
    "GET /sources": SIGNED_IN,
    "POST /sources/rejected": SIGNED_IN,
    "GET /sources/rejected": SIGNED_IN,
    "GET /sql": SIGNED_IN,
    "GET /sql?q=select+text+from+content": SIGNED_IN,
    "POST /sql": SIGNED_IN,
    "POST /sql/csv": SIGNED_IN,
    "GET /sql/csv": SIGNED_IN,
    "POST /sql/json": SIGNED_IN,
    "GET /sql/json": SIGNED_IN,
    "GET /start": SIGNED_IN,
    "POST /start": SIGNED_IN,
    "GET /start/key": SIGNED_IN,
    "POST /start/key": ADMINS,
    "POST /start/file": SIGNED_IN,
    "GET /start/file": SIGNED_IN,
}
# Of these, who finds words of content in the answer; in every other answer nobody does.
READS: Mapping[str, frozenset[str]] = {
    "POST /sessions/acme/acme-session-1/events/acme-event-1/content": READ_ACME,
    "POST /sessions/globex/globex-session-1/events/globex-event-1/content": READ_GLOBEX,
    "POST /sql": READ_ACME | READ_GLOBEX,  # each of their own tenant
    "POST /sql/csv": READ_ACME | READ_GLOBEX,
    "POST /sql/json": READ_ACME | READ_GLOBEX,
}
# What is sent beside the token; not which change of a role was seen, so that it stays as it is.
QUERY = {"q": "select text from content"}
FORMS: Mapping[str, dict[str, str]] = {
    "POST /sql": QUERY,
    "POST /sql/csv": QUERY,
    "POST /sql/json": QUERY,
}
# Of tests/sinks/query/samples: prompts, and what was rejected.
CONTENT = re.compile(r"secret (words|original)")


async def answer_to(plane: Pages, asked: str, who: Person | None) -> httpx.Response:
    """What somebody gets, who sends a form with the token of their sign-in."""
    method, path = asked.split(" ", 1)
    if who is None:
        plane.http.cookies.clear()
        return await plane.http.request(method, path, data=FORMS.get(asked))
    return await (plane.get(path, who) if method == "GET" else plane.post(path, FORMS.get(asked, {}), who))


def others_in(answer: httpx.Response, who: Person | None) -> list[str]:
    """The tenants of which somebody finds something that they did not bring themselves, and that is not theirs."""
    if who is not None and who.admin and who.tenant is None:
        return []
    found = unescape(answer.text.replace(escape(answer.request.url.raw_path.decode()), ""))
    return [tenant for tenant in TENANTS if re.search(rf"{tenant}\b", found) and (who is None or tenant != who.tenant)]


def page_of(asked: str) -> Page | None:
    """The route that answers."""
    method, path = asked.partition("?")[0].split(" ")
    return next((page for page in PAGES if page.method == method and compile_path(page.path)[0].match(path)), None)


async def test_the_table_has_every_route_and_no_other() -> None:
    there = {asked: page_of(asked) for asked in MAY}
    assert [asked for asked, page in there.items() if page is None] == []
    assert [f"{page.method} {page.path}" for page in PAGES if page not in there.values()] == []
    assert len({(page.method, page.path) for page in PAGES}) == len(PAGES)
    assert set(READS) <= set(MAY)
    assert set(FORMS) <= set(MAY)


CASES = [
    pytest.param(asked, name, id=f"{asked}, {name}: {'yes' if name in may else 'no'}")
    for asked, may in MAY.items()
    for name in WHO
]


@pytest.mark.parametrize(("asked", "name"), CASES)
async def test_whoever_may_gets_there_and_nobody_reads_what_is_not_theirs(plane: Pages, asked: str, name: str) -> None:
    who = WHO[name]
    if who is not None and asked == "POST /signout":
        who = person(*who.roles, tenant=who.tenant)  # a sign-out would hold
    answer = await answer_to(plane, asked, who)
    to_sign_in = answer.headers.get("location", "").startswith("/signin")
    gets_there = not to_sign_in and answer.status_code not in (401, 403, 404)
    if asked == "POST /signout" and who is not None:
        gets_there = to_sign_in
    assert gets_there == (name in MAY[asked]), answer.status_code
    assert answer.status_code < (400 if gets_there and asked.startswith("GET") else 500)
    if who is None and "/signin" not in asked:
        assert (answer.status_code, to_sign_in) == ((303, True) if asked.startswith("GET") else (401, False))
    reads = name in READS.get(asked, NONE)
    assert bool(CONTENT.search(answer.text)) == reads
    assert answer.status_code == 200 or not reads
    assert others_in(answer, who) == []
    assert "'unsafe" not in answer.headers["content-security-policy"]
    if answer.status_code < 400 and answer.headers.get("content-type", "").startswith("text/html"):
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("asked", [asked for asked, may in MAY.items() if asked.startswith("POST") and may])
async def test_who_comes_back_to_the_address_of_a_form_gets_to_the_page_that_has_it(plane: Pages, asked: str) -> None:
    path = asked.removeprefix("POST ")
    answer = await plane.get(f"{path}?range=7d")
    if answer.status_code == 303:
        assert answer.headers["location"] == f"{path.rpartition('/')[0] or '/'}?range=7d"
        answer = await plane.get(answer.headers["location"])
    assert answer.status_code == 200


@pytest.mark.parametrize("asked", [asked for asked in MAY if asked.startswith("GET")])
async def test_a_long_time_range_and_a_search_show_no_more(plane: Pages, asked: str) -> None:
    """Nor do filters that name another tenant's."""
    more = "range=90d&q=secret&tenant=globex&user=globex-user-1&session=globex-session-1"
    for name in ("security", "reader", "admin of one tenant"):
        answer = await answer_to(plane, f"{asked}{'&' if '?' in asked else '?'}{more}", WHO[name])
        assert answer.status_code < 500
        assert not CONTENT.search(answer.text)
        assert "someone@globex.example" not in answer.text
        assert "globex-event" not in answer.text.replace(escape(answer.request.url.raw_path.decode()), "")


@pytest.mark.parametrize("name", sorted(SIGNED_IN))
async def test_the_menu_shows_only_pages_that_let_one_in(plane: Pages, name: str) -> None:
    shown = re.search(r'<nav id="menu".*?</nav>', (await plane.get("/nowhere", WHO[name])).text, re.DOTALL)
    assert shown is not None
    for one in MENU:
        # Whom no role gives anything has these in the menu, too: the page says who could grant it.
        may = SIGNED_IN if MAY[f"GET {one.path}"] == SEES else MAY[f"GET {one.path}"]
        assert (f'href="{one.path}"' in shown[0]) == (name in may)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "POST", "GET"])
async def test_no_other_method_gets_past_the_door(plane: Pages, method: str) -> None:
    """Not even with a token of somebody who may all."""
    root = person("admin")
    for path in {asked.split(" ", 1)[1] for asked in MAY}:
        if page_of(f"{method} {path}") is None and not (method == "HEAD" and page_of(f"GET {path}")):
            answer = await plane.http.request(method, path, headers={"x-csrf-token": root.csrf, **cookie_header(root)})
            assert answer.status_code == 405, path


async def test_the_sql_service_hears_the_person_and_not_the_console(plane: Pages) -> None:
    """What a page shows is bounded there, by the person's roles, and not by what the page asks."""
    for sql, reads in {
        "SELECT text FROM content": READ_ACME | READ_GLOBEX,
        "SELECT * FROM content": READ_ACME | READ_GLOBEX,
        "SELECT decode(original) AS original FROM rejected": ADMINS,
    }.items():
        for name, who in WHO.items():
            if who is None:
                continue
            answer = await plane.sql.http.post(
                f"{plane.sql.base}/sql",
                json={"sql": sql},
                headers={"authorization": "Bearer root-key", ACTOR_HEADER: stated(who.actor())},
            )
            assert bool(CONTENT.search(answer.text)) == (name in reads), (sql, name, answer.text[:300])
            assert others_in(answer, who) == []
