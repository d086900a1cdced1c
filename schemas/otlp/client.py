"""Which kind of client sent a record, whatever its service is called."""

from __future__ import annotations

import functools

#: service.name → client. The desktop app starts both under names of their own, and says so on the resource.
_SERVICES = {"cowork": "cowork", "claude-code-desktop": "desktop"}
#: app.entrypoint → client, where the word is another. `local-agent` is what the desktop app starts for Cowork.
_ENTRYPOINTS = {
    "sdk-cli": "sdk",
    "sdk-ts": "sdk",
    "sdk-py": "sdk",
    "claude-vscode": "vscode",
    "claude-desktop": "desktop",
    "claude-desktop-3p": "desktop",
    "local-agent": "cowork",
}
_SERVICE = "claude-code"
_SCOPE = "com.anthropic.claude_code"
UNKNOWN = "code"
#: Event, metric and span names of a Claude Code begin with it, on the wire.
NAME_PREFIX = "claude_code."
_MOST = 64


@functools.lru_cache(maxsize=4096)
def client(service: str | None, entrypoint: str | None, scope: str) -> str | None:
    """cli, sdk, vscode, desktop or cowork; an entrypoint that is none of the known ones stands for itself.

    Args:    service, entrypoint: service.name and app.entrypoint.  scope: name of the instrumentation scope.
    Returns: `code` for a Claude Code that does not say how it was started (metrics, older clients), None for what
             is no Claude client by its service, entrypoint or scope. A name with NAME_PREFIX makes it `code` as well.
    """
    known = _SERVICES.get(service or "")
    if known:
        return known
    if entrypoint:
        return _ENTRYPOINTS.get(entrypoint, entrypoint[:_MOST])
    ours = service == _SERVICE or scope == _SCOPE or scope.startswith(_SCOPE + ".")
    return UNKNOWN if ours else None
