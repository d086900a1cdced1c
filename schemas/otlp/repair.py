"""Bodies with half a surrogate pair, mended.

JavaScript cuts strings between UTF-16 units, so a client that truncates a text in the middle of an emoji sends a lone
surrogate: as an escape \\ud83d in JSON, as the bytes ED A0 BD in protobuf. Strict parsers refuse the whole request for
it, and every record in it would be lost. Only after such a refusal the lone halves become U+FFFD.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

# A pair, a lone half, or any other escape (so that the second backslash of a \\\\ starts no escape).
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_CESU = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_LONE = re.compile("[\ud800-\udfff]")


def repair_json(body: bytes) -> Any | None:
    """The parsed body, or None where lone surrogates are not what is wrong with it."""
    mended, count = _ESCAPE.subn(lambda m: rb"\ufffd" if m[1] else m[0], body)
    if not count or mended == body:
        return None
    try:
        return orjson.loads(mended)
    except orjson.JSONDecodeError:
        return None


def repair_protobuf(kind: Any, body: bytes) -> Any | None:
    """The body as a message of class `kind`, or None where lone surrogates are not what is wrong with it."""
    if _CESU.search(body) is None:
        return None
    lenient = _lenient(kind.DESCRIPTOR.full_name)
    try:
        message = lenient.FromString(body)
        _mend(message)
        return kind.FromString(message.SerializeToString())
    except DecodeError:
        return None


def _mend(message: Any) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                _mend(child)
        elif field.type == field.TYPE_BYTES and not field.is_repeated and field.full_name in _strings():
            setattr(message, field.name, _text(value))


def _text(raw: bytes) -> bytes:
    try:
        raw.decode()
    except UnicodeDecodeError:
        try:
            return _LONE.sub("\ufffd", raw.decode("utf-8", "surrogatepass")).encode()
        except UnicodeDecodeError:
            return raw  # Something else is wrong as well; the strict parser will refuse it again.
    return raw


@functools.cache
def _strings() -> frozenset[str]:
    """Full names of the string fields of OTLP."""
    found = set()
    for file in _files():
        for message in _messages(file.message_type, file.package):
            for field in message[1].field:
                if field.type == field.TYPE_STRING:
                    found.add(f"{message[0]}.{field.name}")
    return frozenset(found)


def _messages(messages: Any, scope: str) -> Any:
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from _messages(message.nested_type, name)


@functools.cache
def _files() -> tuple[Any, ...]:
    """OTLP's own files, a dependency before who needs it."""
    pool = descriptor_pool.Default()
    files: dict[str, Any] = {}

    def add(name: str) -> None:
        if name in files:
            return
        file = descriptor_pb2.FileDescriptorProto()
        pool.FindFileByName(name).CopyToProto(file)
        for dependency in file.dependency:
            add(dependency)
        files[name] = file

    for signal in ("logs", "metrics", "trace"):
        add(f"opentelemetry/proto/collector/{signal}/v1/{signal}_service.proto")
    return tuple(files.values())


@functools.cache
def _lenient(name: str) -> Any:
    """The same message with its strings as bytes, which nobody checks for UTF-8."""
    pool = descriptor_pool.DescriptorPool()
    for file in _files():
        lenient = descriptor_pb2.FileDescriptorProto()
        lenient.CopyFrom(file)
        for _, message in _messages(lenient.message_type, ""):
            for field in message.field:
                if field.type == field.TYPE_STRING:
                    field.type = field.TYPE_BYTES
        pool.Add(lenient)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
