"""`millrace role`: who may read what. Roles stand on the control topic, every change of one on the audit topic."""

import asyncio
import json
from typing import Any

import click

from millrace import command, query
from millrace.command import FORMATS, Group
from millrace.who import who
from schemas import roles
from schemas.errors import RoleError
from schemas.records import CLASSES
from schemas.roles import DEFAULTS, Role
from service import roles as changes


def _kafka() -> tuple[dict[str, Any], str]:
    settings, arguments = command.kafka()
    return arguments, settings.prefix


@click.group("role", cls=Group)
def role() -> None:
    """Who may read what: list, show, create, grant, revoke and delete roles."""


@role.command("list")
@click.option("--format", "form", type=FORMATS, default="table", show_default=True)
def role_list(form: str) -> None:
    """Every role: classes that it has everywhere, and how many grants of single datasets or rows (millrace role show).

    A `default` one is as Millrace comes with it, `changed` if it is not any more.
    """
    rows = [
        [name, _state(name, found), *((None, "cannot be read", None) if found is None else _summary(found))]
        for name, found in asyncio.run(changes.known(*_kafka())).items()
    ]
    columns = ["role", "state", "version", "everywhere", "scopes"]
    click.echo(query.render(query.Answer(columns, rows), form), nl=False)


def _summary(found: Role) -> tuple[int, str, int]:
    """Version, classes on every open dataset without a rule, and how many other grants."""
    everywhere = [grant.cls for grant in found.grants if not grant.names and not grant.rule]
    return found.version, ", ".join(everywhere), len(found.grants) - len(everywhere)


def _state(name: str, found: Role | None) -> str:
    if name not in DEFAULTS:
        return "custom"
    return "default" if found == DEFAULTS[name] else "changed"


@role.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One object, as it stands on the control topic.")
def role_show(name: str, as_json: bool) -> None:
    """The grants of a role, one a row, with the datasets that each gives no row of."""
    found = asyncio.run(changes.known(*_kafka())).get(name)
    if found is None:
        raise RoleError(f"there is no role {name} that can be read; see: millrace role list")
    if as_json:
        body = json.loads(roles.control_value(found, updated_at=0, updated_by="")["body"])
        click.echo(json.dumps({"name": name, **body}, indent=2))
        return
    rows = [
        [g.cls, ", ".join(g.names) or "*", roles.shown_rule(g.rule) or "all", ", ".join(roles.without_rows(g))]
        for g in found.grants
    ]
    click.echo(query.render(query.Answer(["class", "datasets", "rows", "no rows of"], rows), "table"), nl=False)


@role.command("create")
@click.argument("name")
def role_create(name: str) -> None:
    """Make an empty role, which gives nothing until it is granted something."""
    if not roles.valid_name(name):
        raise click.UsageError("a role's name: a small letter, then small letters, digits, dashes and underscores")

    asyncio.run(changes.create(*_kafka(), who(), name))
    print_done(f"role {name} is made; it gives nothing yet")


_CLASS = click.option("--class", "cls", type=click.Choice(CLASSES), required=True, help="Class of columns.")
_DATASETS = click.option("--dataset", "names", multiple=True, help="SQL name; several times; none: every open one.")
_WHERE = click.option("--where", help="Of which rows: column = literal or column IN (…), joined by AND.")


@role.command("grant")
@click.argument("name")
@_CLASS
@_DATASETS
@_WHERE
def role_grant(name: str, cls: str, names: tuple[str, ...], where: str | None) -> None:
    """Give a role one class of columns in some datasets, for some rows."""
    grant = roles.checked_grant(cls, names, where)
    changed = asyncio.run(changes.grant(*_kafka(), who(), name, grant))
    print_done(f"role {name}, version {changed.version}: granted {grant}")
    empty = roles.without_rows(grant)
    if empty:
        print_done(f"no rows of {', '.join(empty)}: the rule cannot be asked of them")


@role.command("revoke")
@click.argument("name")
@_CLASS
@_DATASETS
@_WHERE
def role_revoke(name: str, cls: str, names: tuple[str, ...], where: str | None) -> None:
    """Take back a grant, spelled as it was given (see: millrace role show NAME)."""
    grant = roles.checked_grant(cls, names, where)
    changed = asyncio.run(changes.revoke(*_kafka(), who(), name, grant))
    print_done(f"role {name}, version {changed.version}: revoked {grant}")


@role.command("delete")
@click.argument("name")
def role_delete(name: str) -> None:
    """End a role: keys that name it read nothing by it. A default role is again as Millrace comes with it."""
    asyncio.run(changes.delete(*_kafka(), who(), name))
    print_done(f"role {name} is {'as it comes' if name in DEFAULTS else 'deleted'}")


def print_done(message: str) -> None:
    """Say on stderr what was done."""
    click.echo(message, err=True)
