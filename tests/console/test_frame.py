"""What holds for every page: who is let in, what protects it, what a refusal says."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.responses import Response

from console.app import application
from console.web import Page, Visit
from tests.console.conftest import BASE, Pages, cookie_header
from tests.console.people import person

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_stranger_is_asked_to_sign_in_and_comes_back_to_the_page(pages: Pages) -> None:
    answer = await pages.http.get("/?range=7d")
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin?next=%2F%3Frange%3D7d")


async def test_every_answer_is_protected(pages: Pages) -> None:
    for path in ("/", "/signin", "/nowhere", "/static/app.css"):
        headers = (await pages.get(path)).headers
        assert "'unsafe" not in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"


async def test_no_page_is_kept_by_a_cache_but_every_file_is(pages: Pages) -> None:
    page = await pages.get("/")
    assert page.headers["cache-control"] == "no-store"
    for url in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text):
        file = await pages.http.get(url)
        assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")


async def test_the_first_page_is_small_and_the_charts_come_after_it(pages: Pages) -> None:
    page = await pages.get("/", **{"accept-encoding": "gzip"})
    urls = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text))
    sizes = [int(page.headers["content-length"])]
    for url in urls:
        async with pages.http.stream("GET", url, headers={"accept-encoding": "gzip"}) as file:
            sizes.append(int(file.headers["content-length"]))
    assert sum(sizes) < 200_000, sizes
    assert not any("echarts" in url for url in urls)


async def test_a_page_keeps_itself_current_so_often_that_an_event_is_there_within_five_seconds(pages: Pages) -> None:
    """Two seconds are left until it is stored and asked for. How long it takes: tests/bench/live.py."""
    every = re.search(r'data-tick="(\d+)"', (await pages.get("/")).text)
    assert every is not None
    assert int(every[1]) <= 3000


async def test_an_address_that_makes_no_sense_says_why(pages: Pages) -> None:
    answer = await pages.get("/?range=yesterday")
    assert answer.status_code == 400
    assert "there is no time range &#39;yesterday&#39;; there are 24h, 7d, 30d, 90d, or from and to" in answer.text


async def test_the_time_of_a_sign_in_ends(pages: Pages) -> None:
    settings = pages.console.settings
    assert (await pages.get("/", person("viewer", tenant="acme", ago_s=settings.idle_s - 60))).status_code == 200
    assert (await pages.get("/", person("viewer", tenant="acme", ago_s=settings.idle_s + 60))).status_code == 303


async def test_who_has_no_role_is_told_so(pages: Pages) -> None:
    answer = await pages.get("/", person(tenant="acme"))
    assert answer.status_code in (200, 403)
    assert "it has no role" in answer.text


async def test_a_page_that_fails_is_protected_and_says_where_to_look(pages: Pages) -> None:
    async def fail(_: Visit) -> Response:
        raise RuntimeError("a bug")

    transport = httpx.ASGITransport(application(pages.console, [Page("/", fail)]), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
        answer = await http.get("/", headers=cookie_header(person("admin")))
    assert answer.status_code == 500
    assert "The log has it under" in answer.text
    assert "a bug" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("multipart/form-data; boundary=x; charset=punycode", 415),
        ("application/json", 415),
        ("application/x-www-form-urlencoded; charset=utf-16", 403),
    ],
)
async def test_a_form_is_only_read_as_browsers_send_ours(pages: Pages, kind: str, status: int) -> None:
    headers = {"content-type": kind, **cookie_header(person("viewer", tenant="acme"))}
    answer = await pages.http.post("/sql", content=b"q=select+1&csrf=x", headers=headers)
    pages.http.cookies.clear()
    assert answer.status_code == status


@pytest.mark.parametrize("page", ["0" * 5 + "1" + "9" * 5000, "1" + "0" * 30, "-1", "x", ""])
@pytest.mark.parametrize("path", ["/sessions", "/security/commands", "/admin/audit"])
async def test_a_page_number_out_of_reach_is_refused_in_words(pages: Pages, path: str, page: str) -> None:
    answer = await pages.get(f"{path}?page={page}")
    assert answer.status_code == 400
    assert "page is a number from" in answer.text


async def test_a_page_that_only_keeps_itself_current_is_no_sign_of_a_person(pages: Pages) -> None:
    who = person("viewer", tenant="acme", ago_s=600)
    assert "set-cookie" in (await pages.get("/", who)).headers
    assert "set-cookie" not in (await pages.get("/", who, **{"x-millrace-tick": "1"})).headers
