"""One-time links, cookies, where one goes after the sign-in, and how often one may fail."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from itsdangerous import URLSafeSerializer
from starlette.requests import Request
from starlette.responses import Response

from console.attempts import Attempts
from console.pages import PAGES
from console.pages.signin import local_target
from console.people import COOKIE, Cookies, Person
from service.links import Links, link
from tests.console.conftest import BASE, GONE, SECRET, console_over, cookie_header, pages_of
from tests.console.people import cookie, person


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with pages_of(console_over(GONE, "a key")) as pages:
        yield pages.http


# Links


async def test_a_link_signs_in_once(http: httpx.AsyncClient) -> None:
    url = link(BASE, SECRET)
    answer = await http.get(url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    said = answer.headers["set-cookie"].lower()
    assert all(word in said for word in (f"{COOKIE}=", "httponly", "samesite=lax", "path=/"))
    http.cookies.clear()
    again = await http.get(url)
    assert again.status_code == 403
    assert "used already" in again.text
    assert "set-cookie" not in again.headers


async def test_who_only_looks_where_a_link_leads_does_not_use_it_up(http: httpx.AsyncClient) -> None:
    url = link(BASE, SECRET)
    assert "set-cookie" not in (await http.head(url)).headers
    assert "set-cookie" not in (await http.get(url, headers={"sec-purpose": "prefetch;prerender"})).headers
    assert (await http.get(url)).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "x.y", "..", "\N{SNOWMAN}", "a" * 10_000])
async def test_what_is_no_link_says_so(http: httpx.AsyncClient, token: str) -> None:
    answer = await http.get("/signin/link", params={"token": token})
    assert answer.status_code == 403
    assert "This is no sign-in link of this console." in answer.text


async def test_a_link_of_another_secret_opens_nothing(http: httpx.AsyncClient) -> None:
    assert (await http.get(link(BASE, "another secret, long enough as well"))).status_code == 403


def token_of(secret: str, now: float) -> str:
    return link("", secret, now).partition("token=")[2]


def test_a_link_is_good_for_ten_minutes_and_never_before_the_start() -> None:
    now = 1_000_000.0
    links = Links(SECRET, lambda: now)
    assert links.use(token_of(SECRET, now - 1)) == "this link is from before the console's last start"
    early, late = token_of(SECRET, now), token_of(SECRET, now)
    now += 599
    assert links.use(early) is None
    now += 2
    assert links.use(late) == "this link is older than ten minutes"
    assert links.use(token_of(SECRET, now + 3600)) is not None


# Cookies


def read(text: str, *, now: float | None = None, secret: str = SECRET) -> Person | None:
    cookies = Cookies(secret, secure=False, idle_s=100, absolute_s=1000, clock=lambda: now or time.time())
    return cookies.read(Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={text}".encode())]}))


def signed(said: Any) -> str:
    return str(URLSafeSerializer(SECRET, salt="millrace.console.person").dumps(said))


def test_a_cookie_says_who_one_is_until_one_is_idle_or_the_day_is_over() -> None:
    who = person("viewer", tenant="acme")
    text = signed(asdict(who))
    assert read(text) == who
    assert read(text, now=who.seen + 99) == who
    assert read(text, now=who.seen + 101) is None
    busy = {**asdict(who), "seen": who.since + 990}
    assert read(signed(busy), now=who.since + 999) is not None
    assert read(signed({**busy, "seen": who.since + 1000}), now=who.since + 1001) is None


def test_who_goes_on_is_seen_again_but_not_with_every_request() -> None:
    who = person("viewer", ago_s=0)
    for later, written in ((30.0, False), (61.0, True)):
        response = Response()
        cookies = Cookies(SECRET, secure=False, idle_s=100, absolute_s=1000, clock=lambda later=later: who.seen + later)  # type: ignore[misc]
        cookies.touch(response, who)
        assert ("set-cookie" in response.headers) == written


def test_a_cookie_that_somebody_made_or_bent_is_nobody() -> None:
    who = person("viewer", tenant="acme")
    good = signed(asdict(who))
    body, _, signature = good.rpartition(".")
    admin = signed({**asdict(who), "roles": ["admin"], "tenant": None}).rpartition(".")[0]
    other = cookie("another secret, long enough as well", who)[COOKIE]
    link_token = token_of(SECRET, time.time())
    for text in ("", ".", body, good[:-1], good + "A", f"{admin}.{signature}", f"{body}.", other, link_token, "é"):
        assert read(text) is None, text


@pytest.mark.parametrize(
    "change",
    [
        {"roles": "admin"},
        {"roles": [1]},
        {"roles": None},
        {"since": "now"},
        {"seen": None},
        {"csrf": None},
        {"id": 7},
        {"tenant": 7},
        {"more": "of a later version"},
    ],
)
def test_a_cookie_of_another_version_of_ours_is_nobody(change: dict[str, Any]) -> None:
    assert read(signed({**asdict(person("viewer")), **change})) is None


async def test_on_https_only_the_cookie_that_no_other_host_can_set_is_read() -> None:
    who = person("admin")
    async with pages_of(console_over(GONE, "a key", public_url="https://console.test")) as pages:
        answer = await pages.http.get(link(BASE, SECRET))
        name, _, rest = answer.headers["set-cookie"].partition("=")
        said = rest.lower().split("; ")
        assert name == f"__Host-{COOKIE}"
        assert {"secure", "httponly", "path=/"} <= set(said)
        assert not any(part.startswith("domain") for part in said), "a browser would refuse it"
        pages.http.cookies.clear()
        assert (await pages.http.get("/signin", headers=cookie_header(who))).status_code == 200
        secure = {"cookie": cookie_header(who)["cookie"].replace(COOKIE, f"__Host-{COOKIE}", 1)}
        assert (await pages.http.get("/signin", headers=secure)).status_code == 303
        gone = (await pages.http.post("/signout", data={"csrf": who.csrf}, headers=secure)).headers["set-cookie"]
        assert gone.startswith(f'__Host-{COOKIE}=""')
        assert "secure" in gone.lower()


async def test_without_https_the_cookie_is_one_that_browsers_keep(http: httpx.AsyncClient) -> None:
    said = (await http.get(link(BASE, SECRET))).headers["set-cookie"]
    assert said.startswith(f"{COOKIE}=")
    assert "secure" not in said.lower()


@pytest.mark.parametrize("said", [None, [], "admin", 7, {"id": "ann"}])
def test_what_we_signed_for_something_else_is_nobody(said: Any) -> None:
    assert read(signed(said)) is None


async def test_after_the_sign_out_the_cookie_is_gone_and_a_copy_of_it_opens_nothing(http: httpx.AsyncClient) -> None:
    who, other = person("admin"), person("admin")
    assert (await http.get("/signin", headers=cookie_header(who))).status_code == 303
    answer = await http.post("/signout", data={"csrf": who.csrf}, headers=cookie_header(who))
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert (await http.get("/signin", headers=cookie_header(who))).status_code == 200
    assert (await http.get("/", headers=cookie_header(who))).headers["location"].startswith("/signin")
    assert (await http.get("/signin", headers=cookie_header(other))).status_code == 303  # the same person elsewhere


# Forms of other sites

POSTS = [page.path for page in PAGES if page.changes]


@pytest.mark.parametrize("path", POSTS)
async def test_nothing_changes_for_another_site(http: httpx.AsyncClient, path: str) -> None:
    path = path.replace("{name}", "viewer")
    who = person("admin")
    good = {"csrf": who.csrf}
    refused: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": person("admin").csrf}, {}),
        ({"csrf": who.csrf + "x"}, {}),
        ({}, {"x-csrf-token": "made up"}),
        ({"csrf": "\N{SNOWMAN}"}, {}),
        (good, {"sec-fetch-site": "cross-site"}),
        (good, {"sec-fetch-site": "same-site"}),
        (good, {"origin": "https://evil.example"}),
        (good, {"origin": "null"}),
    ]
    for form, headers in refused:
        answer = await http.post(path, data=form, headers={**cookie_header(who), **headers})
        assert answer.status_code == 403, (form, headers)
        assert "Refused" in answer.text
    assert (await http.post(path, data=good)).status_code == 401


async def test_a_form_that_is_sent_after_the_sign_in_has_ended_says_how_to_go_on(http: httpx.AsyncClient) -> None:
    answer = await http.post("/sql", data={"q": "select 1"})
    assert answer.status_code == 401
    assert "Your sign-in has ended. Sign in, go back, and send it again." in answer.text
    assert '<a class="button" href="/signin">Sign in</a>' in answer.text
    assert "To the overview" in (await http.get("/nowhere", headers=cookie_header(person("admin")))).text


async def test_our_own_form_and_our_own_script_may(http: httpx.AsyncClient) -> None:
    for form, headers in (
        ("csrf", {"sec-fetch-site": "same-origin", "origin": BASE}),
        ("", {"x-csrf-token": "csrf", "sec-fetch-site": "same-origin"}),
    ):
        who = person("admin")
        data = {"csrf": who.csrf} if form else {}
        sent = {name: who.csrf if value == "csrf" else value for name, value in headers.items()}
        assert (await http.post("/signout", data=data, headers={**cookie_header(who), **sent})).status_code == 303


@pytest.mark.parametrize(
    "headers", [{"content-length": str(2 << 20)}, {"transfer-encoding": "chunked"}, {"content-length": "many"}]
)
async def test_a_form_without_a_bound_is_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"csrf=x"

    answer = await http.post("/signout", content=body(), headers={**cookie_header(person("admin")), **headers})
    assert answer.status_code == 413


# Where to go


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\\/evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "/\r\nset-cookie: millrace=x",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "%2f%2fevil.example",
        "%2F/evil.example",
        "\uff0f\uff0fevil.example",
        "/\u2028/evil.example",
        "\N{ZERO WIDTH SPACE}//evil.example",
        "evil.example",
        "",
        "/" + "a" * 5000,
        "/\x00",
    ],
)
async def test_nobody_is_sent_to_another_site(http: httpx.AsyncClient, target: str) -> None:
    assert local_target(target) == "/"
    answer = await http.get("/signin", params={"next": target}, headers=cookie_header(person("admin")))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "target", ["/%2f%2fevil.example", "/%5cevil.example", "/\uff0fevil.example", "/@evil.example", "/.//evil.example"]
)
async def test_what_only_looks_like_another_site_stays_here(http: httpx.AsyncClient, target: str) -> None:
    answer = await http.get("/signin", params={"next": target}, headers=cookie_header(person("admin")))
    assert httpx.URL(BASE).join(answer.headers["location"]).host == "console.test"


async def test_a_page_of_ours_is_kept_over_the_sign_in(http: httpx.AsyncClient) -> None:
    target = "/sessions?range=7d&user=a%26b#top"
    answer = await http.get("/signin", params={"next": target}, headers=cookie_header(person("admin")))
    assert answer.headers["location"] == target


# How often


async def test_who_fails_too_often_waits_but_a_good_link_lets_in() -> None:
    """A link cannot be guessed, and any page can have a browser send bad ones."""
    console = console_over(GONE, "a key", signin_failures=3)
    async with pages_of(console) as one, pages_of(console, address="192.0.2.2") as other:
        for _ in range(3):
            assert (await one.http.get("/signin/link?token=x")).status_code == 403
        answer = await one.http.get("/signin/link?token=x")
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 300
        assert "Too many sign-ins were tried lately. Try again at" in answer.text
        assert (await one.http.get(link(BASE, SECRET))).status_code == 303
        assert (await other.http.get("/signin/link?token=x")).status_code == 403


async def test_who_is_let_in_is_not_counted() -> None:
    async with pages_of(console_over(GONE, "a key", signin_failures=2)) as pages:
        for _ in range(5):
            pages.http.cookies.clear()
            assert (await pages.http.get(link(BASE, SECRET))).status_code == 303


def test_failures_are_forgotten_when_their_time_is_over() -> None:
    now = 0.0
    attempts = Attempts(by_address=2, in_all=100, window_s=60, clock=lambda: now)
    attempts.count("192.0.2.1")
    now = 10.0
    attempts.count("192.0.2.1")
    assert (attempts.wait_s("192.0.2.1"), attempts.wait_s("192.0.2.2")) == (50.0, 0.0)
    now = 60.0
    assert attempts.wait_s("192.0.2.1") == 0.0
    attempts.count("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 10.0


def test_many_addresses_meet_the_bound_of_all() -> None:
    now = 0.0
    attempts = Attempts(by_address=10, in_all=50, window_s=60, clock=lambda: now)
    for number in range(50):
        assert attempts.wait_s(f"192.0.2.{number}") == 0.0
        attempts.count(f"192.0.2.{number}")
    assert attempts.wait_s("198.51.100.1") == 60.0
    now = 61.0
    assert attempts.wait_s("198.51.100.1") == 0.0


def test_addresses_that_one_client_can_choose_from_count_as_one() -> None:
    attempts = Attempts(by_address=2, in_all=100, window_s=60, clock=lambda: 0.0)
    attempts.count("2001:db8::1")
    attempts.count("2001:db8::ffff:2")
    assert attempts.wait_s("2001:db8::3%eth0") == 60.0
    assert attempts.wait_s("2001:db8:0:1::1") == 0.0
    attempts.count("::ffff:192.0.2.1")
    attempts.count("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 60.0
    for text in (None, "unix", ""):
        attempts.count(text)
    assert attempts.wait_s("nonsense") == 60.0


def test_addresses_are_remembered_in_bounded_memory() -> None:
    attempts = Attempts(by_address=2, in_all=100, window_s=60, clock=lambda: 0.0)
    for number in range(10_000):
        attempts.count(f"10.0.{number // 256}.{number % 256}")
    assert len(attempts._of) == 4096
