"""The command line. Answers go to stdout, everything else to stderr."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from millrace import command, doctor, local_keys, query, stack, status
from millrace import config as config_
from millrace import policy as policy_
from millrace import restart as restart_
from millrace import routing as routing_
from millrace import schema as schema_
from millrace.acls import acls
from millrace.command import FORMATS, Group, fail
from millrace.errors import KeyFault
from millrace.roles import role
from millrace.settings import StackSettings
from millrace.who import who
from schemas import asyncapi, keys, topics
from service import cluster, keyring, links, registry
from service.settings import load


def command_line() -> None:
    """Run it with this process's arguments."""
    # What the libraries would say of a Kafka that does not answer is said once, by us.
    logging.getLogger().addHandler(logging.NullHandler())
    cli(prog_name="millrace")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def cli() -> None:
    """Millrace: the telemetry of Claude Code clients as exact sessions and usage."""


cli.add_command(schema_.schema)


@cli.command()
@click.option("--demo", is_flag=True, help="Feed it a small synthetic fleet.")
def run(demo: bool) -> None:
    """Start Kafka and every process on this machine; Ctrl-C stops them in order."""
    stack.run(load(StackSettings), demo=demo, say=stack.say_on_stderr)


def _become(module: str, *arguments: str) -> NoReturn:
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@cli.command()
def gateway() -> None:
    """Run only the gateway: OTLP in, Kafka out."""
    _become("ingest_gateway")


@cli.command()
@click.option("--workers", type=click.IntRange(1, 64), help="So many processes under a supervisor; none: one, alone.")
def streams(workers: int | None) -> None:
    """Run only streams: sessions and users."""
    if workers is None:
        _become("streams")
    settings = load(StackSettings).model_copy(update={"streams_workers": workers})
    stack.run_streams(settings, say=stack.say_on_stderr)


@cli.command()
@click.argument("what", type=click.Choice(["streams"]))
def restart(what: str) -> None:
    """Restart the streams workers one by one; no partition moves, nothing is lost. Returns when all are ready."""
    for worker in restart_.restart(load(StackSettings)):
        print(f"{worker} was restarted and is ready", file=sys.stderr)


@cli.command()
def sinks() -> None:
    """Run only the sinks: lake, query tables and SQL."""
    _become("sinks")


@cli.command()
@click.option("--link", is_flag=True, help="Only print a one-time sign-in link for the console of this machine.")
def console(link: bool) -> None:
    """Run only the console: the pages."""
    if not link:
        _become("console")
    settings = load(StackSettings)
    click.echo(links.link(settings.console_url, stack.console_secret(settings)))


@cli.command(
    "state",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    options_metavar="COMMAND [OPTIONS]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
def state_(arguments: tuple[str, ...]) -> None:
    """List, show, explain and export the rows of the streams workers on this machine."""
    _become("streams.inspect", "--bootstrap", load(StackSettings).kafka_address, *arguments)


@cli.group("topics")
def topics_() -> None:
    """Create and show the topics."""


@topics_.command("create")
def topics_create() -> None:
    """Create the topics that are missing (MILLRACE_PROFILE: local or cluster)."""
    settings, kafka = command.cluster()
    created = asyncio.run(cluster.ensure_topics(kafka, topics.CATALOGUE.values(), settings.prefix, settings.profile))
    for name in created:
        click.echo(name)
    print(f"{len(created)} created, {len(topics.CATALOGUE) - len(created)} were there", file=sys.stderr)


@topics_.command("register")
def topics_register() -> None:
    """Register every topic's schema in MILLRACE_REGISTRY_URL; a step of each deployment, and harmless when repeated."""
    settings = load(StackSettings)
    if settings.registry_url is None:
        fail("no schema registry is named: set MILLRACE_REGISTRY_URL")
    found = list(registry.Registry(settings).register())
    rows = [[one.subject, f"{one.record} v{one.version}", one.schema_id] for one in found]
    click.echo(query.render(query.Answer(["subject", "schema", "id"], rows), "table"), nl=False)
    new = sum(one.new for one in found)
    print(f"{new} registered, {len(found) - new} were there; all are {registry.COMPATIBILITY}", file=sys.stderr)


@topics_.command("list")
def topics_list() -> None:
    """The topics of the catalogue, as Kafka has them."""
    settings, kafka = command.cluster()
    names = [topics.full_name(settings.prefix, name) for name in topics.CATALOGUE]
    _, states = asyncio.run(cluster.describe(kafka, names))
    rows = [
        [name, state.partitions, state.replication, state.topic_id]
        if (state := states.get(name))
        else [name, None, None, None]
        for name in names
    ]
    click.echo(query.render(query.Answer(["topic", "partitions", "replicas", "topic id"], rows), "table"), nl=False)


@topics_.command("describe")
@click.argument("name", type=click.Choice(sorted(topics.CATALOGUE)))
def topics_describe(name: str) -> None:
    """What a topic holds and how it is keyed and kept; needs no Kafka."""
    topic = topics.CATALOGUE[name]
    settings = load(StackSettings)
    rows = [
        ["name", topics.full_name(settings.prefix, name)],
        ["record", topic.record],
        ["key", ", ".join(topic.key_parts) or "none"],
        ["partition by", ", ".join(topic.key_parts[: topic.partition_parts]) or "spread"],
        *([f"sizing {profile}", _sizing(topic, profile)] for profile in ("local", "cluster")),
        *([key, value] for key, value in sorted(topic.config.items())),
    ]
    click.echo(query.render(query.Answer(["what", "value"], rows), "table"), nl=False)


@topics_.command("asyncapi")
def topics_asyncapi() -> None:
    """The topics as an AsyncAPI 3 document, JSON: keys, headers and Avro schemas; needs no Kafka."""
    _write(asyncapi.text(load(StackSettings).prefix))


def _sizing(topic: topics.Topic, profile: topics.Profile | str) -> str:
    sizing = topic.local if profile == "local" else topic.cluster
    return f"{sizing.partitions} partitions, {sizing.replication} replicas, {sizing.min_insync} in sync at least"


@cli.group()
def key() -> None:
    """Create, list and revoke API keys."""


@key.command("create")
@click.option("--tenant", help="Whose key it is; not for an admin key, which sees every tenant.")
@click.option("--kind", type=click.Choice(keys.KINDS), default="ingest", show_default=True)
@click.option("--role", "roles_", multiple=True, help="What a query key may read (millrace role list); none: analyst.")
@click.option("--name", default="", help="A note for people.")
def key_create(tenant: str | None, kind: keys.Kind, roles_: tuple[str, ...], name: str) -> None:
    """Print a new key, alone, on stdout. It is shown only now: Millrace keeps its hash."""
    if roles_ and kind != "query":
        raise click.UsageError("--role is for a query key: an ingest key reads nothing, an admin key everything")
    if kind != "admin" and tenant is None:
        raise click.UsageError("--tenant is needed for an ingest or query key")
    if tenant is not None and not keys.valid_tenant(tenant):
        raise click.UsageError("--tenant: 1 to 64 letters, digits, dots, dashes and underscores")
    settings, kafka = command.kafka()
    tenant = None if kind == "admin" else tenant
    made = keyring.create(kafka, settings.prefix, who(), tenant=tenant, kind=kind, name=name, roles_=roles_)
    text = asyncio.run(made)
    click.echo(text)


@key.command("list")
@click.option("--format", "form", type=FORMATS, default="table", show_default=True)
def key_list(form: str) -> None:
    """The keys in force, without their secrets."""
    settings, kafka = command.kafka()
    rows = asyncio.run(local_keys.in_force(kafka, settings.prefix))
    columns = ["id", "kind", "tenant", "roles", "name", "created"]
    click.echo(query.render(query.Answer(columns, [[row[c] for c in columns] for row in rows]), form), nl=False)


@key.command("revoke")
@click.argument("key_id")
def key_revoke(key_id: str) -> None:
    """End the key with this id (see: millrace key list)."""
    settings, kafka = command.kafka()
    asyncio.run(keyring.revoke(kafka, settings.prefix, who(), key_id))
    print(f"key {key_id} is revoked", file=sys.stderr)


cli.add_command(policy_.group)
cli.add_command(role)
topics_.add_command(acls)


@cli.command("query")
@click.argument("sql")
@click.option("--format", "form", type=FORMATS, default="table", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Most rows to show; the service has a bound of its own.")
def query_(sql: str, form: str, limit: int | None) -> None:
    """Ask in SQL: events, metrics, spans, content, sessions, session_hours, user_hours, user_days, people, rejected.

    And audit. With the local admin key, or with MILLRACE_KEY.
    """
    settings = load(StackSettings)
    text = settings.key.get_secret_value() if settings.key else local_keys.read_key(settings.data, "admin")
    url = settings.sql_url or f"http://127.0.0.1:{settings.sql_port}"
    answer = query.ask(url, text, sys.stdin.read() if sql == "-" else sql, limit)
    _write(query.render(answer, form))
    if answer.truncated:
        print(f"millrace: only the first {len(answer.rows)} rows are shown; raise --limit for more", file=sys.stderr)


@cli.command("status")
@click.option(
    "--wait", "seconds", type=click.FloatRange(min=0), default=0.0, help="Wait so many seconds until all are ready."
)
@click.option("--json", "as_json", is_flag=True, help="One array of objects.")
def status_(seconds: float, as_json: bool) -> None:
    """Ready, lag and last error of every process; exits 1 while any is not ready."""
    settings = load(StackSettings)
    rows = status.wait(settings, seconds)
    _write(json.dumps(rows, indent=2) + "\n" if as_json else status.table(rows))
    if not all(row["ready"] for row in rows):
        raise SystemExit(1)


@cli.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One array of objects: level, what, text, todo.")
def doctor_(as_json: bool) -> None:
    """Look at every part of this machine's stack, and say what to do; exits 1 when something is bad."""
    found = doctor.look(load(StackSettings))
    _write(json.dumps(doctor.objects(found), indent=2) + "\n" if as_json else doctor.render(found))
    if any(one.level == "bad" for one in found):
        raise SystemExit(1)


@cli.command("config")
@click.option("--json", "as_json", is_flag=True, help="One array of objects.")
def show_config(as_json: bool) -> None:
    """Every setting of every process: environment variable, value, default, meaning. Exits 2 when one is at fault."""
    shown = config_.collect()
    _write(json.dumps(shown.settings, indent=2) + "\n" if as_json else config_.table(shown))
    for fault in shown.faults:
        print(fault, file=sys.stderr)
    if shown.faults:
        raise SystemExit(2)


@cli.command("demo")
@click.option("--endpoint", help="Any gateway's OTLP endpoint; none: this machine's.")
@click.option(
    "--protocol", type=click.Choice(["http/json", "http/protobuf", "grpc"]), default="http/protobuf", show_default=True
)
@click.option(
    "--rate", type=click.FloatRange(min=0), default=5.0, show_default=True, help="Requests a second; 0: no pause."
)
@click.option(
    "--requests", "count", type=click.IntRange(min=0), default=0, show_default=True, help="How many; 0: no end."
)
@click.option("--users", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same fleet.")
def demo(endpoint: str | None, protocol: str, rate: float, count: int, users: int, seed: int) -> None:
    """Feed a gateway a synthetic fleet, with the local ingest key or MILLRACE_KEY.

    What is not acknowledged is sent again.
    """
    from millrace import demo as demo_

    settings = load(StackSettings)
    text = settings.key.get_secret_value() if settings.key else local_keys.read_key(settings.data, "ingest")
    if keys.parse_key(text).kind == "query":
        raise KeyFault("a query key cannot send", "use an ingest key")
    port = settings.gateway_grpc_port if protocol == "grpc" else settings.gateway_http_port
    feed = demo_.Feed(endpoint or f"http://127.0.0.1:{port}", protocol, text, rate, count, users, seed)
    summary = asyncio.run(demo_.run(feed, say=stack.say_on_stderr))
    _write(json.dumps(summary) + "\n")


cli.add_command(routing_.routing)


def _write(text: str) -> None:
    """To stdout; a reader that has seen enough (| head) is no fault."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


__all__: Sequence[str] = ("cli", "command_line")
