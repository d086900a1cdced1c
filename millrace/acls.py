"""`millrace topics acls`: Kafka's ACLs of every process, as commands of Kafka's own tool."""

import shlex

import click

from millrace.settings import StackSettings
from schemas import acls as access
from service.settings import load


@click.command("acls")
@click.option(
    "--principal",
    "principals",
    multiple=True,
    metavar="PROCESS=NAME",
    help="Who a process is to Kafka (gateway=User:mlr-gateway, several times); else User:PROCESS.",
)
@click.option("--table", "as_table", is_flag=True, help="The table of docs/access.md instead.")
def acls(principals: tuple[str, ...], as_table: bool) -> None:
    """Print the kafka-acls.sh commands that let each process do its work and no more; needs no Kafka."""
    if as_table:
        click.echo(access.document(), nl=False)
        return
    settings = load(StackSettings)
    names = {process: f"User:{process}" for process in access.PROCESSES}
    for given in principals:
        process, _, principal = given.partition("=")
        if process not in names or ":" not in principal:
            raise click.UsageError(
                f"--principal {given}: PROCESS=TYPE:NAME with a process of {', '.join(access.PROCESSES)}"
            )
        names[process] = principal
    for process, principal in names.items():
        for acl in access.acls(process, settings.prefix):
            words = ["kafka-acls.sh", "--bootstrap-server", settings.kafka_address, *access.arguments(acl, principal)]
            click.echo(shlex.join(words))
