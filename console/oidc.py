"""Sign-in through an identity provider: OpenID Connect, the code flow with PKCE, state and nonce.

Between the two requests of a sign-in, state, nonce and verifier are in a signed cookie of ten minutes, and nowhere
here.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from console.errors import SignInFault
from console.identity import Claims, Identity, claim_of, identity
from console.settings import ConsoleSettings, safe_url

logger = logging.getLogger(__name__)

BEGIN_PATH, CALLBACK_PATH = "/signin/oidc", "/signin/callback"
COOKIE = "millrace_oidc"
_BEGUN_MAX_S = 600
_NEXT_MAX = 1500  # a cookie has 4096 bytes
_METADATA_KEPT_S = 3600.0
# A key that is not known yet may be new, and a provider away; but who knocks on must not make us ask on.
_ASKED_AGAIN_S = 10.0
_LEEWAY_S = 60
_TEXT_MAX = 200
# Whoever signs must hold a key that we do not: neither none nor HMAC.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# What the library says of a token, or a key, that is none.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True)
class _Begun:
    """A sign-in that waits for the provider.  next: where to go after it."""

    state: str
    nonce: str
    verifier: str
    next: str


@dataclass(frozen=True)
class _Kept:
    at: float
    value: Any


class Provider:
    """The identity provider of the settings. Use it from one event loop."""

    def __init__(self, settings: ConsoleSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """settings: with oidc_issuer."""
        assert settings.oidc_issuer is not None, "there is no provider without an issuer"
        self.issuer = settings.oidc_issuer.rstrip("/")
        self._settings = settings
        self._clock = clock
        self._callback = settings.base_url + CALLBACK_PATH
        self._secure = settings.base_url.startswith("https:")
        # As of the cookie that says who one is: no other host of the domain can have one finish what it began.
        self._cookie, self._path = (f"__Host-{COOKIE}", "/") if self._secure else (COOKIE, "/signin")
        self._signer = URLSafeTimedSerializer(settings.secret.get_secret_value(), salt="millrace.console.oidc")
        # The way to a provider on this machine leads through no proxy. The certificates of all CAs are read once.
        trusting = self.issuer.startswith("https:")
        self._http: dict[str, Any] = {
            "timeout": settings.oidc_timeout_s,
            "trust_env": trusting,
            "verify": httpx.create_ssl_context(trust_env=trusting),
        }
        self._metadata: _Kept | None = None
        self._keys: _Kept | None = None

    async def begin(self, next_: str) -> tuple[str, str]:
        """A sign-in. Returns: the provider's page to go to; the cookie to go with. Raises: SignInFault."""
        # Asked anew, so that a provider that is away is said so here, and not by the browser.
        metadata = await self._about(kept_s=_ASKED_AGAIN_S)
        begun = _Begun(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            next=next_ if len(next_) <= _NEXT_MAX else "/",
        )
        # Without a client: anybody may begin, and one takes a tenth of a second to build.
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._settings.oidc_client_id,
            "code",
            redirect_uri=self._callback,
            scope=self._settings.oidc_scopes,
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        return str(url), str(self._signer.dumps([begun.state, begun.nonce, begun.verifier, begun.next]))

    def remember(self, response: Response, cookie: str) -> None:
        """Set the cookie of `begin`."""
        response.set_cookie(
            self._cookie,
            cookie,
            max_age=_BEGUN_MAX_S,
            path=self._path,
            httponly=True,
            secure=self._secure,
            samesite="lax",  # the provider sends the browser back from its own site
        )

    def forget(self, response: Response) -> None:
        """Take it back: it is good for one answer of the provider."""
        response.delete_cookie(self._cookie, path=self._path, httponly=True, secure=self._secure, samesite="lax")

    async def finish(self, request: Request) -> tuple[Identity, str]:
        """The provider's answer. Returns: who it is; where to go now. Raises: SignInFault."""
        said = request.query_params
        begun = self._begun(request.cookies.get(self._cookie), said.get("state"))
        if "error" in said:
            words = ": ".join(said[name][:_TEXT_MAX] for name in ("error", "error_description") if name in said)
            raise SignInFault(f"The identity provider refused: {words}", reason="refused_by_provider", status=403)
        metadata = await self._about()
        if said.get("iss", metadata["issuer"]) != metadata["issuer"]:
            raise _bad_token("the answer is of another provider")
        token = await self._token(metadata, said.get("code", ""), begun)
        claims = await self._verified(metadata, token, begun)
        name = self._settings.oidc_groups_claim
        if claim_of(claims, name) is None and metadata.get("userinfo_endpoint"):
            user = await self._user(metadata, token, claims["sub"])
            claims = {**user, **claims, name: claim_of(user, name)}
        return identity(claims, self._settings), begun.next

    def _begun(self, cookie: str | None, state: str | None) -> _Begun:
        try:
            begun = _Begun(*self._signer.loads(cookie or "", max_age=_BEGUN_MAX_S))
        except (BadSignature, TypeError) as error:
            raise _not_begun() from error
        if state is None or not hmac.compare_digest(begun.state.encode(), state.encode("utf-8", "replace")):
            raise _not_begun()
        return begun

    def _client(self, metadata: Claims) -> Any:
        secret = self._settings.oidc_client_secret
        return AsyncOAuth2Client(
            self._settings.oidc_client_id,
            None if secret is None else secret.get_secret_value(),
            token_endpoint_auth_method=_auth_method(metadata, public=secret is None),
            **self._http,
        )

    async def _about(self, kept_s: float = _METADATA_KEPT_S) -> Claims:
        """The provider's metadata, at most so old. Raises: SignInFault."""
        kept = self._metadata
        if kept is not None and self._clock() - kept.at < kept_s:
            found: Claims = kept.value
            return found
        found = await self._json(f"{self.issuer}/.well-known/openid-configuration")
        needed = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
        if missing := [name for name in needed if not isinstance(found.get(name), str)]:
            raise _misled(f"its metadata lacks {missing[0]}")
        if found["issuer"].rstrip("/") != self.issuer:
            raise _misled(f"it calls itself {found['issuer'][:_TEXT_MAX]}, not {self.issuer}")
        if not all(safe_url(found[name]) for name in needed[1:]):
            raise _misled("an address in its metadata is not https")
        self._metadata = _Kept(self._clock(), found)
        return found

    async def _json(self, url: str, **headers: str) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(**self._http) as http:
                answer = await http.get(url, headers=headers)
                answer.raise_for_status()
                body = answer.json()
        except httpx.HTTPError as error:
            raise _down(error) from error
        except ValueError as error:
            raise _misled(f"{url} is no JSON") from error
        if not isinstance(body, dict):
            raise _misled(f"{url} is no JSON object")
        return body

    async def _token(self, metadata: Claims, code: str, begun: _Begun) -> Claims:
        try:
            async with self._client(metadata) as client:
                token: Claims = await client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=begun.verifier,
                    redirect_uri=self._callback,
                )
        except httpx.HTTPError as error:
            raise _down(error) from error
        except (AuthlibBaseError, ValueError) as error:
            logger.warning("the identity provider gives no token: %s", error)
            raise SignInFault(
                f"The identity provider did not take the sign-in: {str(error)[:_TEXT_MAX]}. An admin can compare "
                "client id, secret and redirect address with what the provider has.",
                reason="refused_by_provider",
                status=403,
            ) from error
        if not isinstance(token.get("id_token"), str):
            raise _bad_token("there is none; do the scopes have openid?")
        return token

    async def _verified(self, metadata: Claims, token: Claims, begun: _Begun) -> Claims:
        """The claims of the id_token, after every check. Raises: SignInFault."""
        offered = metadata.get("id_token_signing_alg_values_supported") or _ALGORITHMS
        reader = JsonWebToken([name for name in _ALGORITHMS if name in offered])
        options = {
            "iss": {"essential": True, "value": metadata["issuer"]},
            "aud": {"essential": True, "value": self._settings.oidc_client_id},
            "nonce": {"essential": True, "value": begun.nonce},
        }
        params = {
            "nonce": begun.nonce,
            "client_id": self._settings.oidc_client_id,
            "access_token": token.get("access_token"),
        }
        for last in (False, True):
            keys, at = await self._keys_of(metadata, again=last)
            try:
                claims = reader.decode(token["id_token"], keys, CodeIDToken, options, params)
            except (AuthlibBaseError, *_UNREADABLE) as error:
                # It may be signed with a key that is newer than those we have.
                if last or self._clock() - at < _ASKED_AGAIN_S:
                    raise _bad_token(str(error)) from error
                continue
            try:
                claims.validate(leeway=_LEEWAY_S)
            except AuthlibBaseError as error:
                raise _bad_token(str(error)) from error
            return dict(claims)
        raise AssertionError("the last try returns or raises")

    async def _keys_of(self, metadata: Claims, *, again: bool) -> tuple[Any, float]:
        kept = self._keys
        if kept is None or again or self._clock() - kept.at > _METADATA_KEPT_S:
            found = (await self._json(metadata["jwks_uri"])).get("keys")
            signing = [
                one
                for one in (found if isinstance(found, list) else [])
                if isinstance(one, dict) and one.get("kty") in ("RSA", "EC", "OKP") and one.get("use", "sig") == "sig"
            ]
            try:
                kept = self._keys = _Kept(self._clock(), JsonWebKey.import_key_set({"keys": signing}))
            except (AuthlibBaseError, *_UNREADABLE) as error:
                raise _misled("its keys cannot be read") from error
        return kept.value, kept.at

    async def _user(self, metadata: Claims, token: Claims, subject: str) -> Claims:
        """What the provider tells only on request: of some, the groups."""
        url = metadata["userinfo_endpoint"]
        if not safe_url(url) or not isinstance(token.get("access_token"), str):
            return {}
        found = await self._json(url, authorization=f"Bearer {token['access_token']}")
        if found.get("sub") != subject:
            raise _bad_token("userinfo is of somebody else")
        return found


def _auth_method(metadata: Claims, *, public: bool) -> str:
    if public:
        return "none"
    offered = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return "client_secret_post" if "client_secret_basic" not in offered else "client_secret_basic"


def _not_begun() -> SignInFault:
    return SignInFault(
        "This sign-in was not begun in this browser within the last ten minutes, or was finished already. Begin again.",
        reason="not_begun",
        status=400,
    )


def _bad_token(why: str) -> SignInFault:
    logger.warning("the identity provider's token is refused: %s", why)
    return SignInFault(
        f"What the identity provider said of you cannot be trusted ({why[:_TEXT_MAX]}). Begin again; if it stays so, "
        "an admin can look at the console's log.",
        reason="bad_token",
        status=403,
    )


def _down(error: Exception) -> SignInFault:
    logger.warning("the identity provider does not answer: %r", error)
    return _without_it("does not answer", "Try again in a moment", reason="provider_down", status=503)


def _misled(why: str) -> SignInFault:
    logger.error("the identity provider is not what the settings say: %s", why)
    cure = "An admin can check MILLRACE_CONSOLE_OIDC_ISSUER"
    return _without_it(f"is not what the settings say: {why}", cure, reason="provider_misled", status=502)


def _without_it(how: str, cure: str, *, reason: str, status: int) -> SignInFault:
    text = f"The identity provider {how}. {cure}; a one-time link from the machine that runs Millrace works without it."
    return SignInFault(text, reason=reason, status=status)
