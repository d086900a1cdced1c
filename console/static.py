"""The files that a page loads: read at the start, packed once, named by what they hold so that browsers keep them."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
PREFIX = "/static/"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class _File:
    body: bytes
    packed: bytes
    digest: str
    type: str


class Static:
    """All files under static/ but the licences, which lie beside them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            str(path.relative_to(folder)): _read(path) for path in sorted(folder.rglob("*")) if path.suffix in _TYPES
        }

    def url(self, name: str) -> str:
        """Where a file is to be had; another content is another URL. Raises: KeyError."""
        return f"{PREFIX}{name}?{self._files[name].digest}"

    async def serve(self, request: Request) -> Response:
        """GET /static/NAME."""
        file = self._files.get(request.path_params["name"])
        if file is None:
            return Response("no such file\n", status_code=404, media_type="text/plain")
        headers = {"Cache-Control": _KEPT, "Vary": "Accept-Encoding", "ETag": f'"{file.digest}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.type)
        return Response(file.body, headers=headers, media_type=file.type)


def _read(path: Path) -> _File:
    body = path.read_bytes()
    return _File(body, gzip.compress(body, mtime=0), hashlib.sha256(body).hexdigest()[:16], _TYPES[path.suffix])
