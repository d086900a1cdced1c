"""What the commands have in common: one line for an error of ours, and the way to Kafka."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from millrace.settings import StackSettings
from schemas.errors import MillraceError
from service import registry
from service.settings import kafka_kwargs, load

FORMATS = click.Choice(["table", "json", "csv"])


class Group(click.Group):
    """Commands whose errors of our own are one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MillraceError as error:
            fail(str(error))


def fail(message: str) -> NoReturn:
    """End with one line on stderr."""
    print(f"millrace: {message}", file=sys.stderr)
    raise SystemExit(1) from None


def cluster() -> tuple[StackSettings, dict[str, Any]]:
    """The settings, and aiokafka's arguments with the address of every command: the local Kafka unless one is named."""
    settings = load(StackSettings)
    return settings, {**kafka_kwargs(settings), "bootstrap_servers": settings.kafka_address}


def kafka() -> tuple[StackSettings, dict[str, Any]]:
    """The same for who reads or writes records: through the schema registry, if there is one."""
    settings, arguments = cluster()
    registry.use(settings)
    return settings, arguments
