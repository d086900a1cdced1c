"""The one screen that `millrace run` shows: what runs, where, and what to paste into a Claude Code client."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One thing that runs.  name: the process.  where: how to reach it.  what: a few words."""

    name: str
    where: str
    what: str


def client_environment(grpc_port: int, key: str) -> dict[str, str]:
    """The variables that make a Claude Code client send everything but content to this machine's gateway."""
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{grpc_port}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {key}",
    }


def render(places: Sequence[Place], *, grpc_port: int, key: str, data: str, tenant: str, sign_in: str) -> str:
    """The whole screen."""
    environment = client_environment(grpc_port, key)
    width = max(len(place.name) for place in places)
    where_width = max(len(place.where) for place in places)
    exports = "\n".join(f"    export {name}={_quoted(value)}" for name, value in environment.items())
    managed = "\n".join(f"    {line}" for line in json.dumps({"env": environment}, indent=2).splitlines())
    listed = "\n".join(f"    {place.name:{width}}  {place.where:{where_width}}  {place.what}" for place in places)
    return f"""
Millrace runs. Ctrl-C stops it; a second start goes on with the same data.

{listed}

Open the console; the link signs in once, within ten minutes (another: .venv/bin/millrace console --link):
    {sign_in}

Local ingest key (tenant {tenant}):
    {key}

Point a Claude Code client here: paste this into its shell,
{exports}
or this into its managed settings:
{managed}
To send content too, add OTEL_LOG_USER_PROMPTS=1 (prompts) and OTEL_LOG_TOOL_DETAILS=1 (commands, tool input).

Ask:    .venv/bin/millrace query "select user_email, sum(cost_usd) as cost from sessions group by 1 order by 2 desc"
Health: .venv/bin/millrace status
Data and logs: {data}
"""


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
