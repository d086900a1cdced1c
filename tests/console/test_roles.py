"""Who gets to which page, and what of others' they find there: every route against every role.

The table is made from the routes themselves, so that a new one is in it without a word here.
"""

from __future__ import annotations

import re

import pytest

from console.pages import PAGES
from console.people import Person
from console.web import MENU, Page
from schemas.roles import ACTOR_HEADER, DEFAULTS, RESTRICTED, stated
from tests.console.conftest import Pages
from tests.console.people import person

pytestmark = pytest.mark.asyncio(loop_scope="session")

WHO: dict[str, Person | None] = {
    "nobody": None,
    "no role": person(tenant="acme"),
    "a role that is none": person("ended", tenant="acme"),
    "viewer": person("viewer", tenant="acme"),
    "analyst": person("analyst", tenant="acme"),
    "security": person("security", tenant="acme"),
    "viewer without a tenant": person("viewer"),
    "admin of one tenant": person("admin", tenant="acme"),
    "admin of all": person("admin"),
}
# What stands for a part of a path; a route with another part still gets to be asked for something.
PARTS = {"name": "viewer", "tenant": "acme", "session_id": "acme-session-1", "event_id": "acme-event-1"}
# Of tests/sinks/query/samples: prompts, and what was rejected.
CONTENT = re.compile(r"secret (words|original)")
# Every name of another tenant's in the samples begins so.
OTHERS = re.compile(r"globex-|o(?:&#39;|')hare-")


def may(page: Page, who: Person | None) -> bool:
    """Whether a person gets to a route, by what it says that it needs."""
    if page.need == "nobody":
        return True
    if who is None or (page.need in ("admin", "root") and not who.admin):
        return False
    if page.need == "root" and who.tenant is not None:
        return False
    return page.sees is None or _sees(who, page.sees)


def _sees(who: Person, name: str) -> bool:
    if who.tenant is None and not who.admin:
        return False
    grants = [grant for role in who.roles if role in DEFAULTS for grant in DEFAULTS[role].grants]
    return any(grant.covers(name) for grant in grants)


def path_of(page: Page, **query: str) -> str:
    path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda part: PARTS.get(part[1], "acme-1"), page.path)
    return path + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")


CASES = [
    pytest.param(page, name, id=f"{page.method} {page.path}, {name}: {'yes' if may(page, who) else 'no'}")
    for page in PAGES
    for name, who in WHO.items()
]


@pytest.mark.parametrize(("page", "name"), CASES)
async def test_a_route_lets_in_whom_it_says_and_nobody_reads_what_is_not_theirs(
    plane: Pages, page: Page, name: str
) -> None:
    who = WHO[name]
    path = path_of(page)
    if who is None:
        answer = await (plane.http.post(path) if page.changes else plane.http.get(path))
    elif page.path == "/signout":
        answer = await plane.post(path, {}, person(*who.roles, tenant=who.tenant))  # a sign-out would hold
    else:
        answer = await (plane.post(path, {}, who) if page.changes else plane.get(path, who))
    to_sign_in = answer.headers.get("location", "").startswith("/signin")
    if page.need != "nobody" and who is None:
        assert (answer.status_code, to_sign_in) == ((401, False) if page.changes else (303, True))
    elif not may(page, who):
        assert answer.status_code == 403
    else:
        assert answer.status_code not in (401, 500)
        assert page.path == "/signout" or page.need == "nobody" or not to_sign_in
        # Without a grant of what a page is about it may refuse by itself; an admin of all is refused nothing.
        assert answer.status_code != 403 or page.need == "nobody" or name != "admin of all"
    assert "'unsafe" not in answer.headers["content-security-policy"]
    # The admin reads content, too, only after a click.
    assert not CONTENT.search(answer.text) or (page.changes and who is not None and who.admin)
    if who is None or who.tenant is not None:
        assert not OTHERS.search(answer.text)
    if answer.status_code < 400 and answer.headers.get("content-type", "").startswith("text/html"):
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if not page.changes and page.need == "person"], ids=lambda page: page.path
)
async def test_a_long_time_range_and_a_search_show_no_more(plane: Pages, page: Page) -> None:
    for name in ("no role", "viewer", "analyst", "security"):
        path = path_of(page, range="90d", q="secret", tenant="globex", user="globex-user-1", session="globex-session-1")
        answer = await plane.get(path, WHO[name])
        assert answer.status_code != 500
        assert not CONTENT.search(answer.text)
        assert "someone@globex.example" not in answer.text


async def test_every_route_says_who_may_use_it_and_only_the_sign_in_is_for_everybody() -> None:
    assert {page.path for page in PAGES if page.need == "nobody"} == {
        "/signin",
        "/signin/link",
        "/signin/oidc",
        "/signin/callback",
    }
    assert len({(page.method, page.path) for page in PAGES}) == len(PAGES)
    assert all(page.need in ("admin", "root") or page.sees for page in PAGES if page.path.startswith("/admin"))
    assert all(page.sees is None or page.sees in {*RESTRICTED, "events", "sessions"} for page in PAGES)


@pytest.mark.parametrize("name", [name for name in WHO if name not in ("nobody",)])
async def test_the_menu_shows_only_pages_that_let_one_in(plane: Pages, name: str) -> None:
    who = WHO[name]
    assert who is not None
    shown = re.search(r'<nav id="menu".*?</nav>', (await plane.get("/nowhere", who)).text, re.DOTALL)
    assert shown is not None
    pages = {page.path: page for page in PAGES}
    for one in MENU:
        linked = f'href="{one.path}"' in shown[0]
        if one.path in pages:
            assert linked == may(pages[one.path], who)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "POST", "GET"])
async def test_no_other_method_gets_past_the_door(plane: Pages, method: str) -> None:
    for page in PAGES:
        if page.need == "nobody" or method in (page.method, "HEAD" if page.method == "GET" else ""):
            continue
        if any(other.path == page.path and other.method == method for other in PAGES):
            continue
        answer = await plane.http.request(method, path_of(page))
        assert answer.status_code in (303, 404, 405), (method, page.path)


async def test_the_sql_service_hears_the_person_and_not_the_console(plane: Pages) -> None:
    """What a page shows is bounded there, by the person's roles, and not by what the page asks."""
    for name in ("viewer", "analyst", "security"):
        who = WHO[name]
        assert who is not None
        for sql in ("SELECT text FROM content", "SELECT * FROM content", "SELECT original FROM rejected"):
            answer = await plane.sql.http.post(
                f"{plane.sql.base}/sql",
                json={"sql": sql},
                headers={"authorization": "Bearer root-key", ACTOR_HEADER: stated(who.actor())},
            )
            assert not CONTENT.search(answer.text)
