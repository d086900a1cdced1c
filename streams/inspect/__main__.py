"""`python -m streams.inspect`, or `millrace state`: answers go to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click

from schemas.errors import MillraceError
from service import registry
from service.settings import kafka_kwargs, load
from streams.engine.settings import group_of
from streams.inspect import decoding, explanation, listing
from streams.inspect.databases import Here
from streams.inspect.explain_session import explain_session
from streams.inspect.explain_user import explain_user
from streams.inspect.explanation import Explanation
from streams.inspect.export import exported
from streams.inspect.show import show_session, show_user
from streams.settings import StreamsSettings

Arguments = ParamSpec("Arguments")

_PARTIAL = ".partial"
_TEXT_OR_JSON = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


def plain_faults(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Turn our own errors into one line on stderr and exit code 1."""

    @wraps(function)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except MillraceError as error:
            fail(str(error))
        except BrokenPipeError:  # a reader that has seen enough (| head) is no fault
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return wrapped


def fail(message: str) -> NoReturn:
    """End with one line on stderr."""
    say(" ".join(message.split()))
    raise SystemExit(1)


def say(line: str) -> None:
    """One line on stderr."""
    print(f"millrace state: {line}", file=sys.stderr, flush=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka; none: MILLRACE_BOOTSTRAP.")
@click.pass_context
def cli(context: click.Context, bootstrap: str | None) -> None:
    """The rows of the streams workers on this machine: what is there, and what a number is made of.

    Reads the workers' folders as they are, also while they run, and changes nothing.
    """
    settings = load(StreamsSettings)
    context.obj = settings if bootstrap is None else settings.model_copy(update={"bootstrap": bootstrap})


@cli.command("list")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_obj
@plain_faults
def list_(settings: StreamsSettings, form: str) -> None:
    """Every table and partition that lies here: rows, bytes, and how far it has come. Exits 1 if one is unreadable."""
    lines = listing.listing(settings.data)
    if form == "json":
        _write_json(lines)
    else:
        sys.stdout.write(listing.table(lines))
    if not lines:
        say(f"there is no table in {settings.data.absolute()}: MILLRACE_DATA names the workers' folder")
    if any(line["fault"] for line in lines):
        raise SystemExit(1)


@cli.group()
def show() -> None:
    """The rows of a session or user, decoded, as JSON; the partition must be on this machine."""


@show.command("session")
@click.argument("tenant")
@click.argument("session_id")
@click.pass_obj
@plain_faults
def show_session_(settings: StreamsSettings, tenant: str, session_id: str) -> None:
    """What the two tables have of a session, and the row that they make."""
    _write_json(show_session(_here(settings), tenant, session_id, settings.fold, settings.epoch))


@show.command("user")
@click.argument("tenant")
@click.argument("user_key")
@click.pass_obj
@plain_faults
def show_user_(settings: StreamsSettings, tenant: str, user_key: str) -> None:
    """A user's windows, and what of which session is counted in them."""
    _write_json(show_user(_here(settings), tenant, user_key))


@cli.group()
def explain() -> None:
    """Which records of Kafka made a row: folds them again, and compares the total with what is stored.

    Exits 1 if it differs although Kafka still has every record.
    """


_FIELD = click.option("--field", "fields", multiple=True, help="Only this field (or map.key); can be repeated.")


@explain.command("session")
@click.argument("tenant")
@click.argument("session_id")
@_FIELD
@_TEXT_OR_JSON
@click.pass_obj
@plain_faults
def explain_session_(
    settings: StreamsSettings, tenant: str, session_id: str, fields: tuple[str, ...], form: str
) -> None:
    """The events and metric points of a session, and what each has changed."""
    registry.use(settings)
    arguments = (_here(settings), kafka_kwargs(settings), tenant, session_id, fields, settings.fold, say)
    _tell(asyncio.run(explain_session(*arguments)), form)


@explain.command("user")
@click.argument("tenant")
@click.argument("user_key")
@click.option("--grain", type=click.Choice(["hour", "day"]), default="day", show_default=True)
@click.option(
    "--start",
    required=True,
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%fZ"]),
    help="Of the window, UTC.",
)
@_FIELD
@_TEXT_OR_JSON
@click.pass_obj
@plain_faults
def explain_user_(
    settings: StreamsSettings,
    tenant: str,
    user_key: str,
    grain: str,
    start: datetime,
    fields: tuple[str, ...],
    form: str,
) -> None:
    """The snapshots of sessions' hours that an hour or day of a user is made of."""
    registry.use(settings)
    arguments = (_here(settings), kafka_kwargs(settings), tenant, user_key, grain, start.replace(tzinfo=UTC), fields)
    _tell(asyncio.run(explain_user(*arguments, say)), form)


@cli.command()
@click.option("--table", type=click.Choice(decoding.tables()), help="Only this one.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this one.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file; none: stdout.")
@click.pass_obj
@plain_faults
def export(settings: StreamsSettings, table: str | None, partition: int | None, out: Path | None) -> None:
    """Every row, decoded, as JSON lines."""
    rows = exported(_here(settings), table=table, partition=partition)
    if out is None:
        _write_lines(rows, sys.stdout.write)
        return
    os.umask(0o077)  # as the data folder is
    half = out.with_name(out.name + _PARTIAL)
    try:
        with half.open("w", encoding="utf-8") as file:
            count = _write_lines(rows, file.write)
        half.replace(out)
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror or error}")
    finally:
        half.unlink(missing_ok=True)
    say(f"{count:,} rows in {out}")


def _here(settings: StreamsSettings) -> Here:
    return Here(settings.data.absolute(), group_of(settings.app_id, settings.epoch))


def _tell(found: Explanation, form: str) -> None:
    if form == "json":
        _write_json(found.as_json())
    else:
        sys.stdout.write(explanation.text(found))
    if not found.equal and not found.missing:
        raise SystemExit(1)


def _write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def _write_lines(rows: Iterable[Any], write: Callable[[str], object]) -> int:
    count = 0
    for row in rows:
        write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
        count += 1
    return count


if __name__ == "__main__":
    # What the libraries would say of a Kafka that does not answer is said once, by us.
    logging.getLogger().addHandler(logging.NullHandler())
    cli(prog_name="millrace state")
