"""`millrace role`: who may read what. Roles stand on the control topic, every change of one on the audit topic."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from millrace import command, query
from millrace.changes import audited, who
from millrace.command import FORMATS, Group
from schemas import roles
from schemas.errors import RoleError
from schemas.records import CLASSES
from schemas.roles import CONTROL_KIND, DEFAULTS, Grant, Role
from service.control import viewing


async def known(kafka: Mapping[str, Any], prefix: str) -> dict[str, Role | None]:
    """Every role by its name: those of the control plane, and those that Millrace comes with. None: unreadable."""
    async with viewing(kafka, prefix) as view:
        find = roles.finder(lambda name: view.record(CONTROL_KIND, name))
        return {name: find(name) for name in (*DEFAULTS, *sorted(view.records(CONTROL_KIND).keys() - DEFAULTS.keys()))}


async def change(
    kafka: Mapping[str, Any],
    prefix: str,
    name: str,
    action: str,
    make: Callable[[Role | None], Role],
    *,
    grant: Grant | None = None,
    deleted: bool = False,
) -> Role:
    """Publish what `make` makes of a role (None: there is none yet). Raises: RoleError; as `audited`."""
    found = await known(kafka, prefix)
    if name in found and found[name] is None and not deleted:
        raise RoleError(f"role {name} cannot be read; delete it first: millrace role delete {name}")
    role = make(found.get(name))
    record = roles.control_value(role, updated_at=time.time_ns() // 1000, updated_by=who(), deleted=deleted)
    detail = {
        "grant": None if grant is None else str(grant),
        "default": name in DEFAULTS,
        "deleted": deleted,
        "version": role.version,
    }
    await audited(kafka, prefix, record, action, name, detail)
    return role


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
        for name, found in asyncio.run(known(*_kafka())).items()
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
    found = asyncio.run(known(*_kafka())).get(name)
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

    def make(found: Role | None) -> Role:
        if found is not None:
            raise RoleError(f"there is a role {name} already")
        return Role(name, (), 1)

    asyncio.run(change(*_kafka(), name, "role.grant", make))
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
    changed = asyncio.run(
        change(*_kafka(), name, "role.grant", lambda found: roles.granted(_existing(name, found), grant), grant=grant)
    )
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
    changed = asyncio.run(
        change(*_kafka(), name, "role.revoke", lambda found: roles.revoked(_existing(name, found), grant), grant=grant)
    )
    print_done(f"role {name}, version {changed.version}: revoked {grant}")


@role.command("delete")
@click.argument("name")
def role_delete(name: str) -> None:
    """End a role: keys that name it read nothing by it. A default role is again as Millrace comes with it."""
    kafka = _kafka()
    found = asyncio.run(known(*kafka))
    if name not in found or found[name] == DEFAULTS.get(name, ()):
        raise RoleError(f"there is no role {name} to delete; see: millrace role list")
    asyncio.run(change(*kafka, name, "role.revoke", lambda role: role or Role(name, ()), deleted=True))
    print_done(f"role {name} is {'as it comes' if name in DEFAULTS else 'deleted'}")


def _existing(name: str, found: Role | None) -> Role:
    if found is None:
        raise RoleError(f"there is no role {name}; make it: millrace role create {name}")
    return found


def print_done(message: str) -> None:
    """Say on stderr what was done."""
    click.echo(message, err=True)
