"""Mutations: of bytes, and of JSON as a tree. Everything is drawn from the random generator that is given."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

_BYTES = [
    b"\x00",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 10,
    b"\xed\xa0\xbd",
    b"\\ud83d",
    b"\xc3\x01",
]
_TEXTS = ["", "<content>", "<REDACTED>", "NaN", "Infinity", "-1", "1e400", "9" * 25, "\x1f", "\ud83d", "x" * 300]
_TEXTS += ["k" * 1100, '{"a":1}', "[" * 40, "claude_code.user_prompt", "true", "2026-11-20T12:42:10.595Z", "\x00"]
_LEAVES = [None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 1.5, -0.0, 1e308, [], {}]
_NAMES = [
    "session.id",
    "session_id",
    "event.name",
    "prompt",
    "tool_input",
    "tool_parameters",
    "cost_usd",
    "duration_ms",
]
_NAMES += ["team.id", "value", "trace_id", "attributes", "user.groups", "error.type", "event.timestamp", "response", ""]


def mutate_bytes(random: Random, body: bytes, other: bytes) -> bytes:
    """`body` with one to four changes, maybe with a piece of `other`."""
    data = bytearray(body)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        match random.randrange(7):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << random.randrange(8)
            case 1:
                data[at:at] = random.choice(_BYTES)
            case 2:
                del data[at : at + random.choice((1, 2, 8, 64))]
            case 3:
                data[at:at] = data[at : at + random.choice((1, 4, 32, 256))]
            case 4:
                start = random.randint(0, len(other))
                data[at:at] = other[start : start + random.choice((4, 32, 256))]
            case 5:
                data[at : at + 1] = bytes((random.randrange(256),))
            case 6:
                del data[at:]
    return bytes(data)


def mutate_json(random: Random, body: bytes, other: bytes) -> bytes:
    """The document with one to four of its nodes changed; bytes that are no JSON are changed as bytes."""
    try:
        tree, spare = json.loads(body), json.loads(other)
    except (ValueError, RecursionError):
        return mutate_bytes(random, body, other)
    for _ in range(random.randint(1, 4)):
        nodes = _nodes(tree)
        if not nodes:
            break
        holder, key = random.choice(nodes)
        match random.randrange(7):
            case 0 | 1:
                holder[key] = _leaf(random)
            case 2:
                del holder[key]
            case 3:
                holder[key] = _copy(random.choice([held[k] for held, k in _nodes(spare)] or [None]))
            case 4:
                holder[key] = [holder[key]] if random.random() < 0.5 else {"stringValue": holder[key]}
            case 5 if isinstance(holder, list):
                holder += holder[: random.randint(1, 3)]
            case 5:
                holder[random.choice((*holder, "key", "value", "intValue", "attributes"))] = _leaf(random)
            case 6:
                _deepen(random, holder, key)
    try:
        return json.dumps(tree, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    except RecursionError:
        return body


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of every node below the root, however deep it is."""
    found: list[tuple[Any, Any]] = []
    holders = [tree]
    while holders:
        holder = holders.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            holders.append(holder[key])
    return found


def _copy(value: Any) -> Any:
    """A copy, so that no tree comes to hold itself; a text where it is too deep for one."""
    try:
        return copy.deepcopy(value)
    except RecursionError:
        return "deep"


def _leaf(random: Random) -> Any:
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(_LEAVES)
    if kind == 1:
        return random.choice(_TEXTS)
    if kind == 2:
        return random.choice(_NAMES)
    wrapped = random.choice(("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue", "string_value"))
    return {wrapped: random.choice(_LEAVES + _TEXTS)}


def _deepen(random: Random, holder: Any, key: Any) -> None:
    value: Any = {"stringValue": "deep"}
    for _ in range(random.choice((2, 31, 33, 200))):
        if random.random() < 0.5:
            value = {"arrayValue": {"values": [value]}}
        else:
            value = {"kvlistValue": {"values": [{"key": random.choice(_NAMES), "value": value}]}}
    holder[key] = value
