"""What holds for every page: who is let in, what protects it, what a refusal says."""

from __future__ import annotations

import re

import pytest

from tests.console.conftest import Pages
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
