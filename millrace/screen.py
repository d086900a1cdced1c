"""The one screen that `millrace run` shows: what runs, where, and what to paste into a Claude Code client."""

from collections.abc import Sequence
from dataclasses import dataclass

from service import client


@dataclass(frozen=True)
class Place:
    """One thing that runs.  name: the process.  where: how to reach it.  what: a few words."""

    name: str
    where: str
    what: str


def render(places: Sequence[Place], *, endpoint: str, key: str, data: str, tenant: str, sign_in: str) -> str:
    """The whole screen.  endpoint: where clients send OTLP over gRPC."""
    environment = client.environment(protocol="grpc", endpoint=endpoint, key=key)
    prompts, details = client.GATES["prompts"].variable, client.GATES["details"].variable
    width = max(len(place.name) for place in places)
    where_width = max(len(place.where) for place in places)
    exports = "\n".join(f"    {line}" for line in client.shell(environment).splitlines())
    managed = "\n".join(f"    {line}" for line in client.settings_json(environment).splitlines())
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
To send content too, add {prompts}=1 (prompts) and {details}=1 (commands, tool input);
the console's first page explains each of these, and makes the files for a fleet.

Ask:    .venv/bin/millrace query "select user_email, sum(cost_usd) as cost from sessions group by 1 order by 2 desc"
Health: .venv/bin/millrace status
Data and logs: {data}
"""
