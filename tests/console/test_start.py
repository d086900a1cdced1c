"""Onboarding: choices, keys, files, and the first event."""

from __future__ import annotations

import json
import plistlib
import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio

from schemas import keys
from service.client import CLIENTS, FILES, GATES
from service.links import link
from tests.console.conftest import BASE, GONE, SECRET, Pages, console_over, pages_of
from tests.console.handmade import pages_over
from tests.console.issuer import Issuer
from tests.console.people import person
from tests.console.test_oidc import Browser, settings_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY, KEY_ID = keys.new_key("ingest")
HOSTILE = "\"><script>alert(1)</script>'&"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def empty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Over a store in which nothing is yet."""
    async with pages_over(tmp_path_factory.mktemp("empty")) as pages:
        yield pages


async def signed_in(pages: Pages) -> httpx.Response:
    answer = await pages.http.get(link(BASE, SECRET).removeprefix(BASE))
    pages.http.cookies.clear()  # other tests come as strangers
    return answer


async def test_who_signs_in_to_an_empty_system_is_led_to_the_onboarding(empty: Pages, pages: Pages) -> None:
    assert (await signed_in(empty)).headers["location"] == "/start"
    assert (await signed_in(pages)).headers["location"] == "/"


async def by_provider(pages: Pages, issuer: Issuer, next_: str, *roles: str) -> str:
    """Where somebody in these roles comes to who signs in through the provider, on their way to a page."""
    groups = {"eng": {"roles": list(roles), "tenant": "*" if "admin" in roles else "acme"}}
    console = console_over(pages.sql.base, "root-key", **settings_of(issuer, oidc_groups=groups))
    async with pages_of(console) as there, httpx.AsyncClient(trust_env=False) as outside:
        arrived = await Browser(console, there.http, outside).sign_in(next_)
    return str(arrived.headers["location"])


async def test_who_comes_from_the_provider_is_led_there_too_but_keeps_a_page_they_wanted(
    empty: Pages, pages: Pages, issuer: Issuer
) -> None:
    assert await by_provider(empty, issuer, "/", "admin") == "/start"
    assert await by_provider(empty, issuer, "/cost?range=7d", "admin") == "/cost?range=7d"
    assert await by_provider(empty, issuer, "/", "viewer") == "/"
    assert await by_provider(pages, issuer, "/", "admin") == "/"


async def test_a_sign_in_needs_no_store() -> None:
    async with pages_of(console_over(GONE, "root-key")) as pages:
        assert (await signed_in(pages)).headers["location"] == "/"
        answer = await pages.get("/start")
    assert answer.status_code == 200
    assert "the SQL service cannot be reached" in answer.text
    assert "export CLAUDE_CODE_ENABLE_TELEMETRY=1" in answer.text


async def test_sources_of_an_empty_system_are_the_onboarding(empty: Pages) -> None:
    answer = await empty.get("/sources")
    assert (answer.status_code, answer.headers["location"]) == (303, "/start")
    other = await empty.get("/sources", person("viewer", tenant="acme"))
    assert "Connect a client" in other.text


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_choice_stands_in_the_url_and_in_what_is_pasted(pages: Pages, client: str) -> None:
    for protocol in CLIENTS[client].protocols:
        page = (await pages.get(f"/start?client={client}&protocol={protocol}&gate=prompts&team=core&tenant=acme")).text
        assert f'id="client-{client}" name="client" value="{client}" checked' in page
        endpoint = (
            pages.console.settings.ingest_grpc_url if protocol == "grpc" else pages.console.settings.ingest_http_url
        )
        assert endpoint in page
        if client == "cowork":  # has no variables, only fields in the admin settings
            assert "OTEL_LOG_USER_PROMPTS" not in page
            assert "OTLP headers" in page
        else:
            assert "&#34;OTEL_LOG_USER_PROMPTS&#34;: &#34;1&#34;" in page
            assert "&#34;OTEL_RESOURCE_ATTRIBUTES&#34;: &#34;team.id=core&#34;" in page
        assert f"client={client}" in page
        assert f"/start?client={client}&amp;protocol={protocol.replace('/', '%2F')}" in page


async def test_every_gate_is_explained_and_closed(pages: Pages) -> None:
    page = (await pages.get("/start")).text
    for gate in GATES.values():
        assert gate.variable in page
        assert gate.stored in page.replace("&#39;", "'")
    assert re.findall(r'name="gate"[^>]*checked', page) == []
    shown = re.search(r'<code id="sh">(.*?)</code>', page, re.DOTALL)
    assert shown is not None
    assert "OTEL_LOG_" not in shown[1]


@pytest.mark.parametrize(
    "query", ["client=vim", "protocol=ftp", "gate=all", "tenant=a%2Fb", "since=soon", "key_id=%27x"]
)
async def test_a_choice_that_is_none_is_told(pages: Pages, query: str) -> None:
    answer = await pages.get(f"/start?{query}")
    assert answer.status_code == 400
    assert "makes no sense" in answer.text


async def test_a_hostile_team_is_text(pages: Pages) -> None:
    query = urlencode({"team": HOSTILE, "department": HOSTILE, "cost_center": HOSTILE})
    page = (await pages.get(f"/start?{query}")).text
    assert "<script>alert" not in page
    assert "%3Cscript%3Ealert" in page


async def test_the_first_event_of_a_tenant_is_shown(pages: Pages) -> None:
    here = (await pages.get("/start?tenant=acme")).text
    assert "It works: tenant acme sends." in here
    assert "someone@acme.example" in here
    assert 'href="/sessions/acme/acme-session-0"' in here
    waits = (await pages.get("/start?tenant=nobody")).text
    assert "Waiting for the first event of tenant nobody" in waits


async def test_a_viewer_sees_the_event_but_not_whose_it_is(pages: Pages) -> None:
    page = (await pages.get("/start?tenant=globex", person("viewer", tenant="acme"))).text
    assert "It works: tenant acme sends." in page
    assert "someone@acme.example" not in page
    assert "acme-user-0" in page
    assert "globex" not in page


async def test_only_an_admin_makes_keys(pages: Pages) -> None:
    for role in ("viewer", "analyst", "security"):
        who = person(role, tenant="acme")
        assert "Create a key" not in (await pages.get("/start", who)).text
        assert (await pages.post("/start/key", {"tenant": "acme"}, who)).status_code == 403


async def test_the_address_of_a_new_key_leads_back_to_the_page(pages: Pages) -> None:
    answer = await pages.get("/start/key")
    assert (answer.status_code, answer.headers["location"]) == (303, "/start")


async def test_a_key_that_cannot_be_made_is_no_key(pages: Pages) -> None:
    answer = await pages.post("/start/key", {"tenant": "acme"})  # this console has no Kafka
    assert answer.status_code == 503
    assert "No key was made." in answer.text
    assert "mlr_ingest_" not in answer.text


async def test_a_key_is_in_the_form_and_in_no_url_and_its_id_where_its_first_event_is_waited_for(pages: Pages) -> None:
    page = (await pages.post("/start", {"key": KEY, "client": "ci", "tenant": "acme"})).text
    assert f'name="key" value="{KEY}"' in page
    assert f"Authorization=Bearer {KEY}" in page
    urls = re.findall(r'(?:href|src|hx-\w+|action)="([^"]*)"', page)
    assert not [url for url in urls if KEY.rpartition("_")[2] in url]
    (waiting,) = (url for url in urls if KEY_ID in url)
    assert waiting.endswith(f"&amp;key_id={KEY_ID}")
    assert KEY_ID not in (await pages.get(f"/start?key={KEY}")).text


async def test_what_is_no_ingest_key_is_never_filled_in(pages: Pages) -> None:
    admin, _ = keys.new_key("admin")
    for text in (admin, HOSTILE, "mlr_ingest_x"):
        page = (await pages.post("/start", {"key": text, "tenant": "acme"})).text
        assert "YOUR_INGEST_KEY" in page
        assert text not in page


@pytest.mark.parametrize("name", FILES)
async def test_a_file_for_a_fleet_is_downloaded_with_the_key(pages: Pages, name: str) -> None:
    form = {"key": KEY, "client": "desktop", "protocol": "http/json", "gate": "details", "team": "core", "file": name}
    answer = await pages.post("/start/file", form)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == FILES[name].type
    assert answer.headers["content-disposition"] == f'attachment; filename="{FILES[name].filename}"'
    assert answer.headers["cache-control"] == "no-store"
    if name == "registry":
        text = answer.content.decode("utf-16")
        assert f"Bearer {KEY}" in text
        return
    found = json.loads(answer.content) if name == "managed" else plistlib.loads(answer.content)
    env = found["PayloadContent"][0]["env"] if name == "mobileconfig" else found["env"]
    assert env["OTEL_EXPORTER_OTLP_HEADERS"] == f"Authorization=Bearer {KEY}"
    assert (env["OTEL_LOG_TOOL_DETAILS"], env["OTEL_EXPORTER_OTLP_PROTOCOL"]) == ("1", "http/json")
    assert env["OTEL_RESOURCE_ATTRIBUTES"] == "team.id=core"


async def test_there_is_no_file_that_nobody_offers(pages: Pages) -> None:
    assert (await pages.post("/start/file", {"file": "exe"})).status_code == 400
    assert (await pages.post("/start/file", {"file": "managed", "client": "cowork"})).status_code == 400


async def test_an_address_that_only_this_machine_reaches_is_said_to_be_one(pages: Pages) -> None:
    assert "Only clients on this machine reach that address" in (await pages.get("/start")).text
    console = console_over(pages.sql.base, "root-key", ingest_grpc_url="https://otlp.example:4317/")
    async with pages_of(console) as there:
        page = (await there.get("/start")).text
    assert "Only clients on this machine" not in page
    assert "export OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example:4317\n" in page
