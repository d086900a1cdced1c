"""`millrace routing`: the routing rules in force, setting new ones, and what they would do with recorded requests."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from millrace import command, rehearsal
from millrace.command import Group
from millrace.errors import RulesFault
from millrace.recordings import recordings
from millrace.who import who
from schemas import keys
from schemas.errors import PermanentError
from schemas.otlp import Signal
from schemas.routing import CONTROL_ID, CONTROL_KIND, SIGNALS, Routing, control_value, document, from_control, parse
from service.changes import audited
from service.control import viewing
from service.settings import load
from service.transcoding import TranscoderSettings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def routing() -> None:
    """Rules that send records to topics, lake and tables (hot), to the lake only (archive), or nowhere (drop)."""


@routing.command("show")
def show_() -> None:
    """The rules in force, as JSON that `set` takes again."""
    settings, kafka = command.kafka()
    click.echo(_text(asyncio.run(in_force(kafka, settings.prefix))))


@routing.command("set")
@click.argument("file", type=_FILE)
def set_(file: Path) -> None:
    """Put the rules of a file in force; every gateway follows within a second, and the change is audited.

    A `version` in the file must be that of the rules in force (`show` prints it), so that two people do not undo each
    other's change; the new rules get the next one.
    """
    settings, kafka = command.kafka()
    wanted = _read(file)
    done = asyncio.run(put_in_force(kafka, settings.prefix, wanted))
    print(f"version {done.version} is in force: {len(done.rules)} rules", file=sys.stderr)


@routing.command("test")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--rules", "rules_file", type=_FILE, help="Rules that are not set yet; none: those in force.")
@click.option("--tenant", default="local", show_default=True, help="Whose records they are taken for.")
@click.option("--signal", type=click.Choice(SIGNALS), help="Of a .pb whose name does not say it.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def test_(files: tuple[Path, ...], rules_file: Path | None, tenant: str, signal: Signal | None, form: str) -> None:
    """Show which rule takes each record of recorded requests (files or folders), and why. Nothing is sent."""
    if not keys.valid_tenant(tenant):
        raise click.UsageError("--tenant: 1 to 64 letters, digits, dots, dashes and underscores")
    if rules_file is None:
        settings, kafka = command.kafka()
        rules = asyncio.run(in_force(kafka, settings.prefix))
    else:
        rules = _read(rules_file)
    found = rehearsal.rehearse(rules, recordings(files, signal), tenant, load(TranscoderSettings))
    if form == "json":
        click.echo(json.dumps(rehearsal.as_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(rehearsal.as_text(found), nl=False)


async def in_force(kafka: Mapping[str, Any], prefix: str) -> Routing:
    """The rules in force. Raises: RoutingError, ClusterUnavailable, TopicMissing."""
    async with viewing(kafka, prefix) as view:
        return from_control(view.record(CONTROL_KIND, CONTROL_ID))


def _version(record: Mapping[str, Any] | None) -> int:
    """Of the rules in force; of a record that cannot be read none, for that is what new rules are to mend."""
    try:
        return from_control(record).version
    except PermanentError:
        return 0


async def put_in_force(kafka: Mapping[str, Any], prefix: str, wanted: Routing) -> Routing:
    """Put rules in force as the next version; returns them. The audit knows of it before the gateways do.

    Raises: RulesFault: they were made from another version than the one in force; ClusterUnavailable, TopicMissing.
    """
    async with viewing(kafka, prefix) as view:
        record = view.record(CONTROL_KIND, CONTROL_ID)
    before = _version(record)
    if before and wanted.version not in (0, before):
        cause = f"the rules were made from version {wanted.version}, but version {before} is in force"
        raise RulesFault(cause, "take it up from: millrace routing show")
    done = Routing(wanted.rules, before + 1)
    record = control_value(done, updated_at=time.time_ns() // 1000, updated_by=who().id)
    await audited(kafka, prefix, record, "routing.change", f"version {done.version}", document(done), who())
    return done


def _read(file: Path) -> Routing:
    try:
        return parse(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise RulesFault(f"{file} is no JSON ({error})", "see: millrace routing show") from None


def _text(rules: Routing) -> str:
    """The rules with a line for each."""
    told = document(rules)
    lines = ",\n".join(f"    {json.dumps(rule, ensure_ascii=False)}" for rule in told["rules"])
    return f'{{\n  "version": {told["version"]},\n  "rules": [{f"{chr(10)}{lines}{chr(10)}  " if lines else ""}]\n}}'
