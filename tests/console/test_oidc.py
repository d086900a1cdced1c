"""Sign-in through an identity provider: a real one over HTTP, honest and not."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.jose import JsonWebKey
from pydantic import ValidationError
from starlette.requests import Request

from console.identity import identity
from console.people import Person
from console.settings import ConsoleSettings
from console.web import Console
from service.links import link
from tests.console import issuer as issuers
from tests.console.conftest import ADDRESS, BASE, GONE, SECRET, console_over, pages_of
from tests.console.issuer import Issuer

GROUPS: dict[str, Any] = {
    "eng": ["analyst"],
    "sec": ["security", "viewer"],
    "root": {"roles": ["admin"], "tenant": "*"},
    "globex": {"roles": ["viewer"], "tenant": "globex"},
}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuers.running() as one:
        yield one


@dataclass
class Browser:
    """Somebody who signs in: it keeps cookies, and follows what it is told to one step at a time."""

    console: Console
    http: httpx.AsyncClient
    outside: httpx.AsyncClient

    async def begin(self, next_: str | None = None) -> str:
        """To the provider, and what it answers: the address that it sends the browser back to."""
        answer = await self.http.get("/signin/oidc", params={"next": next_} if next_ is not None else {})
        assert answer.status_code == 303, answer.text
        back = await self.outside.get(answer.headers["location"])
        return str(back.headers["location"])

    async def sign_in(self, next_: str | None = None) -> httpx.Response:
        return await self.http.get(await self.begin(next_))

    def person(self) -> Person | None:
        """Who this browser is at the console."""
        cookies = "; ".join(f"{one.name}={one.value}" for one in self.http.cookies.jar)
        scope = {"type": "http", "headers": [(b"cookie", cookies.encode())]}
        return self.console.cookies.read(Request(scope))


def settings_of(issuer: Issuer, **more: Any) -> dict[str, Any]:
    return {
        "public_url": BASE,
        "oidc_issuer": issuer.url,
        "oidc_client_id": issuers.CLIENT,
        "oidc_client_secret": issuers.SECRET,
        "oidc_groups": GROUPS,
        **more,
    }


@asynccontextmanager
async def browser_with(**settings: Any) -> AsyncIterator[Browser]:
    """A browser of its own, at a console of its own."""
    console = console_over(GONE, "a key", **settings)
    async with pages_of(console) as pages, httpx.AsyncClient(trust_env=False) as outside:
        yield Browser(console, pages.http, outside)


@pytest.fixture
async def browser(issuer: Issuer) -> AsyncIterator[Browser]:
    async with browser_with(**settings_of(issuer)) as one:
        yield one


async def test_who_is_in_a_group_acts_in_its_roles_and_comes_back_to_the_page(browser: Browser, issuer: Issuer) -> None:
    issuer.claims |= {"name": "Ann", "groups": ["nobody", "eng", "sec"]}
    answer = await browser.sign_in("/sessions?range=7d")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sessions?range=7d")
    person = browser.person()
    assert person is not None
    assert (person.id, person.name, person.tenant) == ("ann@example.test", "Ann", "local")
    assert person.roles == ("analyst", "security", "viewer")


async def test_the_request_has_code_pkce_state_and_nonce(browser: Browser) -> None:
    answer = await browser.http.get("/signin/oidc")
    asked = {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", "console", "S256")
    assert asked["redirect_uri"] == f"{BASE}/signin/callback"
    assert "openid" in asked["scope"].split()
    again = await browser.http.get("/signin/oidc")
    other = {k: v[0] for k, v in parse_qs(urlsplit(again.headers["location"]).query).items()}
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name]) >= 43
        assert asked[name] != other[name]


async def test_the_cookie_between_the_requests_is_short_lived_and_for_the_sign_in_only(browser: Browser) -> None:
    cookie = (await browser.http.get("/signin/oidc")).headers["set-cookie"].lower()
    for word in ("httponly", "samesite=lax", "path=/signin", "max-age=600"):
        assert word in cookie
    answer = await browser.sign_in()
    assert 'millrace_oidc=""; ' in answer.headers.get_list("set-cookie")[-1]
    assert "millrace_oidc" not in browser.http.cookies


async def test_on_https_every_cookie_is_secure(issuer: Issuer) -> None:
    async with browser_with(**settings_of(issuer, public_url="https://console.test")) as browser:
        begun = (await browser.http.get("/signin/oidc")).headers.get_list("set-cookie")
        answer = await browser.sign_in()
        ended = answer.headers.get_list("set-cookie")
        assert [one.partition("=")[0] for one in (*begun, *ended)] == [
            "__Host-millrace_oidc",
            "__Host-millrace",
            "__Host-millrace_oidc",
        ]
        for one in (*begun, *ended):
            said = one.lower().split("; ")
            assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(said)
            assert not any(part.startswith("domain") for part in said), "a browser would refuse it"
        assert answer.headers["strict-transport-security"]


async def test_a_sign_in_is_finished_once_and_only_where_it_was_begun(browser: Browser, issuer: Issuer) -> None:
    back = await browser.begin()
    stolen = dict(browser.http.cookies)
    browser.http.cookies.clear()
    assert "was not begun in this browser" in (await browser.http.get(back)).text
    for name, value in stolen.items():
        browser.http.cookies.set(name, value, domain="console.test", path="/signin")
    assert (await browser.http.get(back.replace("state=", "state=x"))).status_code == 400
    assert browser.person() is None
    # The answer before took the cookie back.
    assert (await browser.http.get(back)).status_code == 400
    back = await browser.begin()
    assert (await browser.http.get(back)).status_code == 303
    again = await browser.http.get(back)
    assert again.status_code == 400
    assert "Begin again" in again.text


async def test_a_cookie_of_another_secret_is_none(browser: Browser, issuer: Issuer) -> None:
    back = await browser.begin()
    async with browser_with(**settings_of(issuer)) as other:
        other.console.oidc = None
        assert (await other.http.get("/signin/callback")).headers["location"] == "/signin"
    async with browser_with(**settings_of(issuer, secret="another secret, long enough as well")) as other:
        other.http.cookies.update(browser.http.cookies)
        assert (await other.http.get(back)).status_code == 400


LIES = {
    "another issuer": {"iss": "https://elsewhere.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "another client"},
    "several audiences, for another one": {"aud": [issuers.CLIENT, "another"], "azp": "another"},
    "no audience": {"aud": None},
    "another nonce": {"nonce": "made up"},
    "no nonce": {"nonce": None},
    "no subject": {"sub": None},
    "expired": {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200},
    "no end": {"exp": None},
    "not yet": {"nbf": int(time.time()) + 3600},
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_token_that_lies_opens_nothing(browser: Browser, issuer: Issuer, lie: str) -> None:
    issuer.lies = LIES[lie]
    answer = await browser.sign_in()
    assert answer.status_code == 403
    assert "cannot be trusted" in answer.text
    assert browser.person() is None


@pytest.mark.parametrize("forged", ["another key", "none", "the secret", "the public key as a secret"])
async def test_a_token_that_the_provider_did_not_sign_opens_nothing(
    browser: Browser, issuer: Issuer, forged: str
) -> None:
    if forged == "another key":
        issuer.signed_by = JsonWebKey.generate_key("RSA", 2048, is_private=True)
    elif forged == "none":
        issuer.alg, issuer.signed_by = "none", b""
    else:
        issuer.alg = "HS256"
        secret = issuers.SECRET.encode() if forged == "the secret" else issuer.key.get_public_key()
        issuer.signed_by = JsonWebKey.import_key(
            secret if isinstance(secret, bytes) else json.dumps(issuer.key.as_dict(is_private=False)).encode(),
            {"kty": "oct"},
        )
    assert (await browser.sign_in()).status_code == 403
    assert browser.person() is None


async def test_a_new_key_of_the_provider_is_fetched_once(browser: Browser, issuer: Issuer) -> None:
    assert browser.console.oidc is not None
    now = 1000.0
    browser.console.oidc._clock = lambda: now
    assert (await browser.sign_in()).status_code == 303
    issuer.new_key("second")
    assert (await browser.sign_in()).status_code == 403  # who makes tokens up does not make us ask again at once
    assert issuer.asked.count("/keys") == 1
    now += 60
    assert (await browser.sign_in()).status_code == 303
    assert issuer.asked.count("/keys") == 2


async def test_a_code_or_a_client_that_the_provider_does_not_know_is_refused(browser: Browser, issuer: Issuer) -> None:
    back = await browser.begin()
    answer = await browser.http.get(back.replace("code=", "code=x"))
    assert answer.status_code == 403
    assert "invalid_grant: no such code" in answer.text
    async with browser_with(**settings_of(issuer, oidc_client_secret="wrong")) as other:
        answer = await other.sign_in()
        assert answer.status_code == 403
        assert "client id, secret and redirect address" in answer.text


async def test_what_the_provider_refuses_is_said_as_text(browser: Browser) -> None:
    back = urlsplit(await browser.begin())
    state = parse_qs(back.query)["state"][0]
    answer = await browser.http.get(
        "/signin/callback",
        params={"state": state, "error": "access_denied", "error_description": "<script>alert(1)</script>"},
    )
    assert answer.status_code == 403
    assert "access_denied: &lt;script&gt;" in answer.text
    assert "<script>alert" not in answer.text
    # Nobody else's words are put onto our page by a link.
    answer = await browser.http.get("/signin/callback", params={"error": "call this number", "state": "made up"})
    assert "call this number" not in answer.text


async def test_who_is_in_no_group_is_told_which_claim_and_what_an_admin_can_do(
    browser: Browser, issuer: Issuer
) -> None:
    issuer.claims["groups"] = ["others"]
    answer = await browser.sign_in()
    assert answer.status_code == 403
    assert "its claim &#39;groups&#39; names none of the groups that give a role here" in answer.text
    assert "MILLRACE_CONSOLE_OIDC_GROUPS" in answer.text
    issuer.claims.pop("groups")
    answer = await browser.sign_in()
    assert "it sent no claim &#39;groups&#39;" in answer.text
    assert "MILLRACE_CONSOLE_OIDC_GROUPS_CLAIM" in answer.text
    assert browser.person() is None


async def test_groups_that_only_userinfo_has_count_and_only_of_the_same_person(
    browser: Browser, issuer: Issuer
) -> None:
    issuer.claims.pop("groups")
    issuer.told_later = {"groups": ["sec"], "email": "else@example.test"}
    assert (await browser.sign_in()).status_code == 303
    person = browser.person()
    assert person is not None
    assert (person.roles, person.id) == (("security", "viewer"), "ann@example.test")
    browser.http.cookies.clear()
    issuer.userinfo_subject = "bob"
    assert (await browser.sign_in()).status_code == 403
    assert browser.person() is None


async def test_groups_may_stand_in_a_path_of_either_answer(issuer: Issuer) -> None:
    """Of the token: userinfo is not asked then. Of userinfo: a token with the beginning of the path hides nothing."""
    issuer.claims.pop("groups")
    token = {"realm_access": {"roles": ["sec"]}}
    for claims, later, asked in ((token, {}, False), ({"realm_access": {}}, token, True)):
        issuer.claims |= claims
        issuer.told_later = later
        issuer.asked.clear()
        async with browser_with(**settings_of(issuer, oidc_groups_claim="realm_access.roles")) as browser:
            assert (await browser.sign_in()).status_code == 303
            person = browser.person()
        assert person is not None
        assert (person.roles, "/userinfo" in issuer.asked) == (("security", "viewer"), asked)


async def test_a_provider_that_is_away_says_so_and_the_link_still_works(browser: Browser, issuer: Issuer) -> None:
    provider = browser.console.oidc
    assert provider is not None
    now = 1000.0
    provider._clock = lambda: now
    back = await browser.begin()
    provider.issuer = "http://127.0.0.1:1"
    issuer.metadata_lies = {"token_endpoint": "http://127.0.0.1:1/token"}
    provider._metadata = replace(provider._metadata, value=issuer.metadata())  # type: ignore[type-var]
    assert (await browser.http.get(back)).status_code == 503
    now += 60
    answer = await browser.http.get("/signin/oidc")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert "one-time link" in answer.text
    url = link(BASE, SECRET)
    assert (await browser.http.get(url)).status_code == 303
    assert browser.person() is not None
    # It is no fault of who tried.
    assert browser.console.attempts.wait_s(ADDRESS) == 0


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://elsewhere.example"},
        {"token_endpoint": None},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
)
async def test_a_provider_that_is_another_is_not_trusted(
    browser: Browser, issuer: Issuer, metadata: dict[str, Any]
) -> None:
    issuer.metadata_lies = metadata
    answer = await browser.http.get("/signin/oidc")
    assert answer.status_code == 502
    assert "is not what the settings say" in answer.text


async def test_the_page_offers_the_provider_and_keeps_where_one_wanted_to_go(browser: Browser) -> None:
    answer = await browser.http.get("/signin?next=%2Fcost%3Frange%3D7d")
    assert 'href="/signin/oidc?next=%2Fcost%3Frange%3D7d"' in answer.text
    assert (await browser.sign_in("//evil.example")).headers["location"] == "/"
    async with browser_with() as other:
        assert "/signin/oidc" not in (await other.http.get("/signin")).text
        assert (await other.http.get("/signin/oidc")).headers["location"] == "/signin"


async def test_failures_of_the_callback_are_bounded(issuer: Issuer) -> None:
    async with browser_with(**settings_of(issuer, signin_failures=3)) as browser:
        for _ in range(3):
            assert (await browser.http.get("/signin/callback?code=a&state=b")).status_code == 400
        answer = await browser.http.get("/signin/callback?code=a&state=b")
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 300
        assert "Try again at" in answer.text
        assert (await browser.http.get("/signin/oidc")).status_code == 429
        assert (await browser.http.get("/signin")).status_code == 200


async def test_sign_ins_that_are_only_begun_are_bounded_for_each_address(issuer: Issuer) -> None:
    async with browser_with(**settings_of(issuer, signin_starts=3)) as browser:
        for _ in range(3):
            assert (await browser.http.get("/signin/oidc")).status_code == 303
        back = await browser.http.get("/signin/oidc")
        assert back.status_code == 429
        assert 0 < int(back.headers["retry-after"]) <= 300
        assert issuer.asked == ["/.well-known/openid-configuration"]
        async with pages_of(browser.console, address="192.0.2.2") as other:
            assert (await other.http.get("/signin/oidc")).status_code == 303


# What claims make of a person


def made(claims: dict[str, Any], **settings: Any) -> ConsoleSettings:
    return ConsoleSettings.model_validate(
        {
            "key": "k",
            "secret": SECRET,
            "oidc_issuer": "https://id.example",
            "oidc_client_id": "console",
            "oidc_groups": GROUPS,
            **settings,
        }
    )


@pytest.mark.parametrize(
    ("claims", "settings", "expected"),
    [
        ({"groups": ["eng"]}, {}, ("local", ("analyst",))),
        ({"groups": "eng"}, {}, ("local", ("analyst",))),
        ({"groups": ["eng"]}, {"oidc_tenant": "acme"}, ("acme", ("analyst",))),
        ({"groups": ["eng"], "org": "acme"}, {"oidc_tenant_claim": "org"}, ("acme", ("analyst",))),
        ({"groups": ["globex"], "org": "acme"}, {"oidc_tenant_claim": "org"}, ("globex", ("viewer",))),
        ({"groups": ["root"]}, {}, (None, ("admin",))),
        ({"groups": ["eng", "root", "globex"]}, {}, (None, ("admin",))),
        ({"realm": {"roles": ["sec"]}}, {"oidc_groups_claim": "realm.roles"}, ("local", ("security", "viewer"))),
        (
            {"https://x.example/g": ["sec"]},
            {"oidc_groups_claim": "https://x.example/g"},
            ("local", ("security", "viewer")),
        ),
    ],
)
def test_groups_are_roles_in_a_tenant(
    claims: dict[str, Any], settings: dict[str, Any], expected: tuple[str | None, tuple[str, ...]]
) -> None:
    found = identity({"sub": "ann", **claims}, made(claims, **settings))
    assert (found.tenant, found.roles) == expected


@pytest.mark.parametrize(
    ("claims", "settings", "words"),
    [
        ({"groups": ["eng", "globex"]}, {}, "several tenants (globex, local)"),
        ({"groups": ["eng"]}, {"oidc_tenant_claim": "org"}, "'org' names no tenant"),
        ({"groups": ["eng"], "org": "*"}, {"oidc_tenant_claim": "org"}, "'org' names no tenant"),
        ({"groups": ["eng"], "org": ["acme"]}, {"oidc_tenant_claim": "org"}, "'org' names no tenant"),
        ({"groups": [["eng"], {"eng": 1}, 7]}, {}, "none of the groups"),
        ({"groups": {"eng": True}}, {}, "none of the groups"),
        ({"groups": ["all"]}, {"oidc_groups": {"all": {"roles": ["viewer"], "tenant": "*"}}}, "every tenant"),
    ],
)
def test_who_has_no_place_is_told_why(claims: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match="An admin can") as caught:
        identity({"sub": "ann", **claims}, made(claims, **settings))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("claims", "id_", "name"),
    [
        ({"email": "ann@example.test", "name": "Ann"}, "oidc:7", "Ann"),
        ({"email": "ann@example.test", "email_verified": True}, "ann@example.test", "ann@example.test"),
        ({"email": "boss@example.test", "email_verified": False, "name": "Ann"}, "oidc:7", "Ann"),
        ({"email": "local", "name": 3}, "oidc:7", "oidc:7"),
        ({"name": "A\nnn\x00"}, "oidc:7", "A nn"),
    ],
)
def test_nobody_is_called_what_nobody_checked(claims: dict[str, Any], id_: str, name: str) -> None:
    found = identity({"sub": "7", "groups": ["eng"], **claims}, made(claims))
    assert (found.id, found.name) == (id_, name)


def test_a_provider_that_verifies_without_saying_so_can_be_trusted() -> None:
    claims = {"sub": "7", "groups": ["eng"], "email": "ann@example.test"}
    assert identity(claims, made(claims, oidc_email_trusted=True)).id == "ann@example.test"
    refused = {**claims, "email_verified": False}
    assert identity(refused, made(refused, oidc_email_trusted=True)).id == "oidc:7"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"oidc_issuer": "http://id.example"}, "must be https"),
        ({"oidc_client_id": None}, "OIDC_CLIENT_ID"),
        ({"oidc_groups": {}}, "OIDC_GROUPS"),
        ({"oidc_groups": {"a": []}}, "at least 1 item"),
        ({"oidc_groups": "eng: analyst"}, "no JSON"),
        ({"oidc_groups": '["eng"]'}, "an object is needed"),
        ({"oidc_groups": {"a": {"roles": ["viewer"], "tenant": "a b"}}}, "should match pattern"),
        ({"oidc_scopes": "profile"}, "must have openid"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        made({}, **settings)


def test_the_mapping_comes_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KEY": "k",
        "SECRET": SECRET,
        "OIDC_ISSUER": "https://id.example",
        "OIDC_CLIENT_ID": "console",
        "OIDC_CLIENT_SECRET": "a secret that is not shown",
        "OIDC_GROUPS": json.dumps(GROUPS),
    }.items():
        monkeypatch.setenv(f"MILLRACE_CONSOLE_{name}", value)
    settings = ConsoleSettings()  # type: ignore[call-arg]
    assert settings.oidc_groups["eng"].roles == ("analyst",)
    assert settings.oidc_groups["root"].tenant == "*"
    assert "a secret that is not shown" not in repr(settings)
