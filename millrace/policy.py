"""`millrace policy`: what is kept, dropped, hashed and masked of a tenant's data."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from millrace import command
from millrace.command import FORMATS, Group
from millrace.errors import PolicyFault
from millrace.query import Answer, render
from millrace.recordings import SIGNALS, Recording, read
from millrace.who import who
from schemas import codec, otlp, policy
from schemas.keys import valid_tenant
from schemas.policy import ACTIONS, EVERY_TENANT, HashKeys, Policy
from schemas.topics import CATALOGUE
from service import policies
from service.control import viewing
from service.policies import PolicyChange
from service.settings import load
from service.transcoding import TranscoderSettings

_IDENTITIES = {
    "events": ("event_id",),
    "metrics": ("point_id",),
    "spans": ("trace_id", "span_id"),
    "content": ("event_id", "span_id", "field"),
}


@click.group("policy", cls=Group)
def group() -> None:
    """Privacy: what of a tenant's data is kept, dropped, hashed and masked."""


def _tenant(_context: Any, _option: Any, value: str) -> str:
    if value != EVERY_TENANT and not valid_tenant(value):
        raise click.BadParameter("a tenant, or * for all without a policy of their own")
    return value


_for_tenant = click.option(
    "--tenant", default=EVERY_TENANT, show_default=True, callback=_tenant, help="Whose; *: all without their own."
)


@group.command()
@_for_tenant
def show(tenant: str) -> None:
    """The policy in force, as JSON."""
    found, whose = asyncio.run(_in_force(tenant))
    click.echo(json.dumps({"tenant": whose, **found.as_body()}, indent=2))


@group.command("set")
@_for_tenant
@click.option("--class", "classes", multiple=True, metavar="CLASS=ACTION", help="usage, person, detail, content.")
@click.option("--field", "fields", multiple=True, metavar="FIELD=ACTION", help="Stronger than the class.")
@click.option("--mask", "masks", multiple=True, metavar="CLASS=on|off", help="Secrets in texts of detail and content.")
@click.option("--hash-key", help="Id of the key of hashes; a new one ends joins with what was hashed before.")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The whole as JSON.")
@click.option("--delete", is_flag=True, help="End it: what * says holds again.")
def set_(
    tenant: str,
    classes: tuple[str, ...],
    fields: tuple[str, ...],
    masks: tuple[str, ...],
    hash_key: str | None,
    file: Path | None,
    delete: bool,
) -> None:
    """Change a policy; what is not named stays. ACTION: keep, drop, hash; of a field also none, to end an override."""
    wanted = PolicyChange(
        classes=dict(_pair(one, ACTIONS) for one in classes),
        fields=dict(_pair(one, (*ACTIONS, "none")) for one in fields),
        mask={name: word == "on" for name, word in (_pair(one, ("on", "off")) for one in masks)},
        hash_key=hash_key,
        body=None if file is None else file.read_text(encoding="utf-8"),
    )
    settings, kafka = command.kafka()
    new = asyncio.run(policies.change(kafka, settings.prefix, who(), tenant, wanted, delete=delete))
    click.echo(json.dumps({"tenant": tenant, **new.as_body()}, indent=2))


@group.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_for_tenant
@click.option("--policy", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="One not yet set.")
@click.option("--signal", type=click.Choice(SIGNALS), help="Where the file does not say it.")
@click.option("--all", "every", is_flag=True, help="Also the fields that stay as they are.")
@click.option("--format", "form", type=FORMATS, default="table", show_default=True)
def test(file: Path, tenant: str, path: Path | None, signal: otlp.Signal | None, every: bool, form: str) -> None:
    """What each field of an OTLP request (….json, ….pb) becomes; nothing is sent. Hashes are made with a random key."""
    if path is not None:
        chosen = policy.parse(path.read_text(encoding="utf-8"), policy=tenant)
    else:
        chosen, _ = asyncio.run(_in_force(tenant))
    rows = [row for one in read(file, signal) for row in _effects(one, chosen, every=every)]
    click.echo(render(Answer(["topic", "record", "field", "sent", "stored"], rows), form), nl=False)


def _effects(request: Recording, chosen: Policy, *, every: bool) -> Iterator[list[Any]]:
    """Topic, record, field, what was sent and what is stored, of every field that the policy changes."""
    key = HashKeys({chosen.hash_key: secrets.token_bytes(32)}).key(chosen.hash_key, "test")
    context = load(TranscoderSettings).context("test", time.time_ns() // 1000, secrets.token_bytes(32))
    bare = replace(context, policy=Policy(mask={"detail": False, "content": False}))
    sent, stored = (
        _records(otlp.transcode(request.signal, request.content_type, request.body, one))
        for one in (bare, replace(context, policy=chosen, hash_key=key))
    )
    for (topic, identity), before in sent.items():
        after = stored.get((topic, identity), {})
        for name, value in _flat(before):
            now = dict(_flat(after)).get(name)
            if every or now != value:
                yield [topic, before.get("event_name") or before.get("metric") or before.get("name"), name, value, now]


def _records(decoded: otlp.Decoded) -> dict[tuple[str, tuple[Any, ...]], dict[str, Any]]:
    found = {}
    for message in (message for entry in decoded.entries for message in entry.messages):
        record = codec.decode(CATALOGUE[message.topic].record, message.value)
        identity = tuple(record[name] for name in _IDENTITIES[message.topic])
        found[message.topic, identity] = record
    return found


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Field and value of what is set; of a map each entry."""
    for name, value in record.items():
        if name in ("policy_version", "masked"):
            continue
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        elif value is not None:
            yield name, value


def _pair(text: str, words: tuple[str, ...]) -> tuple[str, str]:
    name, separator, word = text.partition("=")
    if not separator or word not in words:
        raise PolicyFault(
            f"{text!r} is not NAME=VALUE with one of {', '.join(words)}", "see millrace policy set --help"
        )
    return name, word


async def _in_force(tenant: str) -> tuple[Policy, str]:
    settings, kafka = command.kafka()
    async with viewing(kafka, settings.prefix) as view:
        return policies.in_force(view, tenant)
