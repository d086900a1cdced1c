"""The keys of the one-machine stack: in files of mode 0600 in the data folder, their hashes on the control topic."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millrace.errors import KeyFault
from millrace.who import who
from schemas import keys
from schemas.roles import actor_of
from service import keyring
from service.control import ControlView, viewing

FOLDER = "keys"
_SECRET_BYTES = 32


@dataclass(frozen=True)
class LocalKeys:
    """The keys' texts."""

    ingest: str
    admin: str


def key_path(data: Path, kind: keys.Kind) -> Path:
    """The file of the local key of this kind."""
    return data / FOLDER / kind


def read_key(data: Path, kind: keys.Kind) -> str:
    """The local key of this kind.

    Raises: KeyFault when the stack has not made it yet.
    """
    path = key_path(data, kind)
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise KeyFault(
            f"no local {kind} key in {path}", "start the stack once (make run), or set MILLRACE_DATA to its data folder"
        ) from None
    except OSError as error:
        raise KeyFault(f"cannot read {path} ({error.strerror})", "run as the user that runs the stack") from None


def identity_secret(data: Path) -> str:
    """The secret behind every user_key; made at the first start. Losing it gives every user a new key."""
    return _secret(data / FOLDER / "identity")


def console_secret(data: Path) -> str:
    """The secret that signs cookies and sign-in links; made at the first start. Losing it signs everybody out."""
    return _secret(data / FOLDER / "console")


def _secret(path: Path) -> str:
    if not path.exists():
        write_secret(path, secrets.token_hex(_SECRET_BYTES))
    return path.read_text().strip()


async def ensure(kafka: Mapping[str, Any], prefix: str, data: Path, tenant: str) -> LocalKeys:
    """The local keys, in force: made at the first start, made anew when revoked, published again when Kafka is new."""
    async with viewing(kafka, prefix) as view:
        ingest = await _ensure_one(view, kafka, prefix, data, "ingest", tenant)
        admin = await _ensure_one(view, kafka, prefix, data, "admin", None)
    return LocalKeys(ingest=ingest, admin=admin)


async def _ensure_one(
    view: ControlView, kafka: Mapping[str, Any], prefix: str, data: Path, kind: keys.Kind, tenant: str | None
) -> str:
    path = key_path(data, kind)
    if path.exists():
        text = path.read_text().strip()
        known = view.record(keys.CONTROL_KIND, keys.parse_key(text).id)
        if view.authenticate(text) is not None:
            return text
        if known is None:  # another Kafka, or its data was deleted
            await keyring.put(kafka, prefix, who(), keyring.key_of(text, tenant=tenant, name=f"local {kind}"))
            return text
    text, _ = keys.new_key(kind)
    write_secret(path, text)
    await keyring.put(kafka, prefix, who(), keyring.key_of(text, tenant=tenant, name=f"local {kind}"))
    return text


async def in_force(kafka: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The keys in force without their hashes, for people."""
    async with viewing(kafka, prefix) as view:
        listed = view.keys()
        times = {id_: row["updated_at"] for id_, row in view.records(keys.CONTROL_KIND).items()}
    return [
        {
            "id": key.id,
            "tenant": key.tenant,
            "kind": key.kind,
            "roles": "" if key.kind == "ingest" else ", ".join(actor_of(key).roles),
            "name": key.name,
            "created": iso_time(times[key.id]),
        }
        for key in listed
    ]


def iso_time(time_us: int) -> str:
    """Microseconds since the epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat()


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
