"""`millrace schema`: what the records are, how much of the client's telemetry has a field, what becomes of a file."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click

from millrace.command import Group, fail
from millrace.query import Answer, render
from millrace.recordings import SIGNALS, read
from schemas import docs, records
from schemas.catalogue import catalogue
from schemas.coverage import coverage, percentage
from schemas.errors import OtlpError
from schemas.otlp import Signal
from schemas.report import Report, report
from service.settings import load
from service.transcoding import TranscoderSettings

_PATH = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def schema() -> None:
    """The records: their fields, what of the client's telemetry has one, and what becomes of a file."""


@schema.command("docs")
@click.option("--write", "target", type=_PATH, help="Write the page there instead of to stdout.")
@click.option("--check", "checked", type=_PATH, help="Write nothing; exit 1 if the page there is another.")
def docs_(target: Path | None, checked: Path | None) -> None:
    """The page on all records and on all names of the catalogue, as Markdown."""
    page = docs.page()
    if checked is not None:
        if not checked.exists() or checked.read_text(encoding="utf-8") != page:
            fail(f"{checked} is not what the schemas say: run `millrace schema docs --write {checked}`")
    elif target is not None:
        target.write_text(page, encoding="utf-8")
    else:
        click.echo(page, nl=False)


@schema.command("coverage")
@click.option("--missing", is_flag=True, help="Only what has attributes without a field, and which.")
def coverage_(missing: bool) -> None:
    """Per event, metric, span and span event of the catalogue: how many of its attributes have a typed field."""
    rows = coverage(catalogue())
    shown = [row for row in rows if row.missing] if missing else rows
    table = [[row.kind, row.name, row.typed, row.attributes, ", ".join(row.missing)] for row in shown]
    click.echo(render(Answer(["kind", "name", "typed", "attributes", "without a field"], table), "table"), nl=False)
    typed, whole = sum(row.typed for row in rows), sum(row.attributes for row in rows)
    click.echo(f"{typed} of {whole} attributes have a typed field: {percentage(rows):.4g}%")


@schema.command("show")
@click.argument("record", type=click.Choice(records.NAMES))
def show(record: str) -> None:
    """The fields of one record."""
    fields = records.record(record).fields
    table = [[f.name, f.type, f.unit or "", f.cls, ", ".join(f.otel or f.derive), f.doc] for f in fields]
    click.echo(render(Answer(["field", "type", "unit", "class", "wire", "meaning"], table), "table"), nl=False)


@schema.command("report")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--signal", type=click.Choice(SIGNALS), help="What a protobuf body holds.")
def report_(files: tuple[Path, ...], signal: Signal | None) -> None:
    """What becomes of OTLP bodies in files: .json (one, or one a line), else protobuf. Nothing is sent or stored."""
    context = load(TranscoderSettings).context("report", time.time_ns() // 1000, b"report")
    rows, whole = [], Report()
    for file in files:
        requests = [(one.signal, one.content_type, one.body) for one in read(file, signal)]
        try:
            found = report(requests, context)
        except OtlpError as error:
            fail(f"{file}: {error}")
        rows.append(_row(file.name, found))
        _add(whole, found)
    heads = ["file", "records", "rejected", "typed fields", "left in attributes", "coercion errors", "content rows"]
    click.echo(render(Answer(heads, [*rows, _row("all", whole)]), "table"), nl=False)
    for what, names in (("rejected", whole.rejected), ("left", whole.left), ("coercion error", whole.errors)):
        for name, count in names.most_common():
            click.echo(f"{what}: {name} ({count})")


def _row(name: str, found: Report) -> list[object]:
    counts = (found.rejected.total(), found.typed, found.left.total(), found.errors.total(), found.content)
    return [name, found.records, *counts]


def _add(whole: Report, part: Report) -> None:
    whole.records += part.records
    whole.typed += part.typed
    whole.content += part.content
    for mine, theirs in ((whole.rejected, part.rejected), (whole.left, part.left), (whole.errors, part.errors)):
        mine.update(Counter(theirs))
