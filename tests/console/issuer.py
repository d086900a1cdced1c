"""A small identity provider on a free port: it signs with RS256, checks PKCE and the client, and lies when told to."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from authlib.jose import JsonWebKey, JsonWebToken

CLIENT, SECRET = "console", "a secret of the client"


class Issuer:
    """What it says of whoever comes. Everybody is let in at once.

    claims: of the next person.  told_later: those of them that only userinfo has.  lies: replaces claims of the token
    at the end; None takes one out.  signed_by, alg: another key or algorithm than what the keys' page says.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.claims: dict[str, Any] = {
            "sub": "ann",
            "email": "ann@example.test",
            "email_verified": True,
            "groups": ["eng"],
        }
        self.told_later: dict[str, Any] = {}
        self.lies: dict[str, Any] = {}
        self.metadata_lies: dict[str, Any] = {}
        self.signed_by: Any = None
        self.alg = "RS256"
        self.asked: list[str] = []
        self.userinfo_subject: str | None = None
        self._codes: dict[str, dict[str, str]] = {}
        self.new_key("first")

    def new_key(self, kid: str) -> None:
        """Sign with another key from now on; the old one is forgotten."""
        self.key = _key(kid)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.metadata_lies,
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser is sent back to."""
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, given: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self._codes.pop(given.get("code", ""), None)
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".replace(" ", "%20").encode()).decode()
        plain = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization not in (f"Basic {basic}", f"Basic {plain}"):
            return 401, {"error": "invalid_client"}
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge or given["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant", "error_description": "no such code"}
        now = int(time.time())
        said = {"iss": self.url, "aud": asked["client_id"], "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        said = {k: v for k, v in {**said, **self.claims, **self.lies}.items() if v is not None}
        key = self.signed_by or self.key
        header = {"alg": self.alg, "kid": self.key.kid}
        text = JsonWebToken([self.alg]).encode(header, said, key, check=False).decode()
        return 200, {"access_token": "opens userinfo", "token_type": "Bearer", "id_token": text}


@functools.cache
def _key(kid: str) -> Any:
    """A key is slow to make, and the same for all tests."""
    return JsonWebKey.generate_key("RSA", 2048, {"kid": kid, "use": "sig"}, is_private=True)


@contextmanager
def running() -> Iterator[Issuer]:
    """An issuer on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = urlsplit(self.path)
            issuer.asked.append(where.path)
            asked = {name: values[0] for name, values in parse_qs(where.query).items()}
            if where.path == "/authorize":
                self.send_response(303)
                self.send_header("location", issuer.authorize(asked))
                self.send_header("content-length", "0")
                self.end_headers()
            elif where.path == "/keys":
                self._json(200, {"keys": [issuer.key.as_dict(is_private=False)]})
            elif where.path == "/userinfo":
                assert self.headers["authorization"] == "Bearer opens userinfo"
                subject = issuer.userinfo_subject or issuer.claims["sub"]
                self._json(200, {"sub": subject, **issuer.told_later})
            else:
                assert where.path == "/.well-known/openid-configuration"
                self._json(200, issuer.metadata())

        def do_POST(self) -> None:
            issuer.asked.append(self.path)
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            given = {name: values[0] for name, values in parse_qs(body).items()}
            self._json(*issuer.token(given, self.headers.get("authorization", "")))

        def _json(self, status: int, said: dict[str, Any]) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
