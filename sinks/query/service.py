"""The SQL service over HTTP.

    POST /sql     {"sql": "select ...", "limit": 100}
                  →  {"columns": [...], "rows": [[...], ...], "truncated": false, "version": "..."}
    GET /schema   the names and columns that the key may use, with what they mean; and the limits of a query
    GET /version  {"version": "..."}: while it is that of an answer, the answer holds, unless it tells the time

What a key sees its roles say (catalogue.py). A read of content is told to the audit before its answer goes out; if that
cannot be done there is no answer. Once a day it hears that a key is used (uses.py), which nobody waits for. With an
admin key the console asks as the person who is signed in (schemas.roles.ACTOR_HEADER). The key comes as
`Authorization: Bearer KEY` or `X-API-KEY: KEY`. Every refusal is {"error": {"code", "message"}}, with "line" and
"column" where the SQL has the fault. The header Server-Timing says how long a query ran, without its wait. The asker is
known before a byte of the body is read.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.errors import MillraceError, RoleError
from schemas.keys import KeyRecord
from schemas.roles import ACTOR_HEADER, Actor, FindRole, actor_of, stated_by
from service.audit import entry as audit_entry
from service.serving import Bounds, Server, listen, server
from sinks.query import catalogue
from sinks.query.database import Database
from sinks.query.errors import QueryError
from sinks.query.metrics import QueryMetrics
from sinks.query.runner import Limits, Read, Runner
from sinks.query.uses import KeyUses, WriteAudit

logger = logging.getLogger(__name__)

# A key's text → its record, None when there is no such key in force.
Authenticate = Callable[[str], KeyRecord | None]

_BODY_FACTOR = 8  # SQL as JSON: a character becomes at most \uXXXX, six bytes; the rest is for the other members
_STOP_TIMEOUT_S = 2.0
_MEMBERS = frozenset({"sql", "limit"})
# What whoever asks can keep to; runner.Limits says what each is.
_LIMITS = ("seconds", "rows", "rows_max", "bytes_max", "running", "waiting", "sql_bytes")


@dataclass(frozen=True)
class Door:
    """Who comes in, as what, and who is told.

    authenticate: a key's text → its record.  find_role: a role by its name.  audit: appends entries of the audit topic,
    returns when they are there.
    """

    authenticate: Authenticate
    find_role: FindRole
    audit: WriteAudit


def application(runner: Runner, door: Door, uses: KeyUses) -> Starlette:
    """The ASGI application."""

    async def post_sql(request: Request) -> Response:
        actor = _actor(request, door.authenticate, uses)
        access = catalogue.access_of(actor, door.find_role)
        sql, limit = await _question(request, runner.limits.sql_bytes * _BODY_FACTOR)
        answer = await runner.run(
            actor.asker,
            access,
            sql,
            limit,
            lambda: _gone(request),
            lambda read: _tell(door.audit, actor, access, read),
        )
        head = json.dumps({"columns": answer.columns}, separators=(",", ":"))[:-1]
        tail = json.dumps({"truncated": answer.truncated, "version": answer.version}, separators=(",", ":"))[1:]
        body = head.encode() + b',"rows":[' + b",".join(answer.rows) + b"]," + tail.encode()
        return Response(body, media_type="application/json", headers=_HEADERS | _timing(answer.seconds))

    async def get_schema(request: Request) -> Response:
        access = catalogue.access_of(_actor(request, door.authenticate, uses), door.find_role)
        limits = {name: getattr(runner.limits, name) for name in _LIMITS}
        return JSONResponse({"tables": catalogue.describe(access), "limits": limits}, headers=_HEADERS)

    async def get_version(request: Request) -> Response:
        access = catalogue.access_of(_actor(request, door.authenticate, uses), door.find_role)
        return JSONResponse({"version": runner.version(access)}, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/sql", post_sql, methods=["POST"]),
            Route("/schema", get_schema, methods=["GET"]),
            Route("/version", get_version, methods=["GET"]),
        ],
        exception_handlers={
            QueryError: _refusal,
            ClientDisconnect: _left,
            404: _no_path,
            405: _no_method,
            500: _failed,
        },
    )


class SqlService:
    """The service on its port: `start` once the store is open, `close` before the store is closed."""

    def __init__(
        self,
        database: Database,
        door: Door,
        *,
        host: str = "127.0.0.1",
        port: int = 8081,
        limits: Limits | None = None,
        metrics: QueryMetrics | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """port: 0 takes a free one."""
        self._database = database
        self._door = door
        self._host = host
        self._port = port
        self._limits = Limits() if limits is None else limits
        self._metrics = metrics
        self._bounds = bounds or Bounds()
        self._runner: Runner | None = None
        self._uses = KeyUses(door.audit)
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen, and return the port. Raises: OSError when it is taken."""
        listening = listen(self._host, self._port)
        self._runner = Runner(self._database, self._limits, self._metrics)
        # Without trusted proxies: the audit names who connects; a person's own address comes with ACTOR_HEADER.
        self._server = server(
            application(self._runner, self._door, self._uses), self._bounds, stop_timeout_s=_STOP_TIMEOUT_S
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="sql-service")
        port = int(listening.getsockname()[1])
        logger.info("SQL on http://%s:%d/sql", self._host, port)
        return port

    async def close(self) -> None:
        """Stop answering; queries that run are interrupted. May come twice."""
        runner, serving, task = self._runner, self._server, self._task
        self._runner = self._server = self._task = None
        if serving is not None and task is not None and runner is not None:
            serving.should_exit = True
            runner.stop_all()
            await task
            await runner.close()
            await self._uses.close()


_HEADERS = {"Cache-Control": "no-store"}


def _actor(request: Request, authenticate: Authenticate, uses: KeyUses) -> Actor:
    """Who asks. Raises: QueryError(unauthorized, forbidden)."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    text = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "").strip()
    if not text:
        raise QueryError(
            "send a query or admin key as `Authorization: Bearer KEY` or `X-API-KEY: KEY`", reason="unauthorized"
        )
    key = authenticate(text)
    if key is None:
        raise QueryError("this key is not known, or not in force any more", reason="unauthorized")
    address = request.client.host if request.client is not None else None
    # Whoever asks for people uses it, too: the key, from where they ask.
    uses.used(key, address)
    person = request.headers.get(ACTOR_HEADER)
    if person is None:
        return actor_of(key, address)
    try:
        return stated_by(person, key)
    except RoleError as error:
        raise QueryError(str(error), reason="forbidden") from error


async def _tell(audit: WriteAudit, actor: Actor, access: catalogue.Access, read: Read) -> None:
    """Tell the audit of a read of content. Raises: QueryError(unavailable): it cannot be told."""
    text = read.sql.encode("utf-8", "replace")
    entry = audit_entry(
        "content.read",
        actor=actor.id,
        actor_kind=actor.kind,
        tenant=actor.tenant,
        target=", ".join(read.names),
        outcome="done" if read.rows is not None else "failed",
        reason=read.reason,
        # Not the text of the query: it may quote what was read.
        detail={
            "roles": access.roles,
            "rows": read.rows,
            "sql_bytes": len(text),
            "sql_sha256": hashlib.sha256(text).hexdigest(),
            **({} if actor.via is None else {"asked_by_key": actor.via}),
        },
        client_address=actor.client_address,
    )
    try:
        await audit([entry])
    except MillraceError as error:
        logger.error("a read of %s was refused, as the audit cannot be written: %s", entry["target"], error)
        raise QueryError(
            "content cannot be read now: every read is written to the audit, and the audit cannot be written; "
            "try again in a moment",
            reason="unavailable",
        ) from error


async def _question(request: Request, bytes_max: int) -> tuple[str, int | None]:
    """SQL and limit of a request's body. Raises: QueryError(bad_request, too_large)."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise QueryError(f"the request is longer than {bytes_max} bytes", reason="too_large")
    try:
        question = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise QueryError('the body must be JSON: {"sql": "select ...", "limit": 100}', reason="bad_request") from error
    if not isinstance(question, dict) or not isinstance(question.get("sql"), str):
        raise QueryError('the body must be an object with a text "sql"', reason="bad_request")
    unknown = sorted(question.keys() - _MEMBERS)
    if unknown:
        raise QueryError(f"unknown member {unknown[0]!r}; known are sql and limit", reason="bad_request")
    limit = question.get("limit")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise QueryError('"limit" must be a whole number from 0', reason="bad_request")
    return question["sql"], limit


async def _gone(request: Request) -> None:
    """Return when the client has left; after the body nothing else arrives."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _timing(seconds: float) -> dict[str, str]:
    return {"Server-Timing": f"query;dur={seconds * 1000:.0f}"} if seconds else {}


def _error(status: int, code: str, message: str, **more: Any) -> JSONResponse:
    headers = dict(_HEADERS)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = "1"
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status_code=status, headers=headers)


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, QueryError), "registered for this type only"
    where = {} if error.position is None else {"line": error.position.line, "column": error.position.column}
    refusal = _error(error.status, error.reason, str(error), **where)
    refusal.headers.update(_timing(error.seconds))
    return refusal


async def _left(_: Request, __: Exception) -> Response:
    return _error(499, "cancelled", "the client left")


async def _no_path(_: Request, __: Exception) -> Response:
    return _error(404, "not_found", "the paths are POST /sql, GET /schema and GET /version")


async def _no_method(_: Request, __: Exception) -> Response:
    return _error(405, "method_not_allowed", "the paths are POST /sql, GET /schema and GET /version")


async def _failed(_: Request, error: Exception) -> Response:
    logger.error("a query failed inside of the service: %s", type(error).__name__)
    return _error(500, "internal", "the service failed on this request")
