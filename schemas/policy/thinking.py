"""Thinking is never stored: what a model thought is taken out of every text, whatever the tenant's policy.

The client leaves it out of the bodies that it sends, as far as it says; tools' output (a transcript that was read) and
other senders may hold it. A text that is whole JSON loses its thinking blocks and says in their place how many there
were. A text that is none, because it was cut or is several, loses the values that may be thinking, to its end where
that is inside of one. (A signature, or the data of a redacted block, that stands before anything says that it is one,
in a text cut in between, cannot be told from any other base64; both are encrypted.)
"""

from __future__ import annotations

import json
import re
from typing import Any

MARK = "<THINKING:{}>"

_TYPES = ("thinking", "redacted_thinking", "thinking_delta", "signature_delta")
# A member's name and the quote that opens its text; the backslashes say how many strings deep the JSON is.
_THOUGHT = re.compile(r'(?<!\\)(\\*+)"(thinking|signature)\1"\s{0,20}:\s{0,20}\1"(?!\\*<THINKING:)')
_REDACTED = re.compile(r'(?<!\\)(\\*+)"(data)\1"\s{0,20}:\s{0,20}\1"(?!\\*<THINKING:)')
_QUOTE = re.compile(r'(?<!\\)(\\*+)"')
_TEXT_DEPTH = 8


def remove(text: str) -> tuple[str, int]:
    """The text without thinking, and how many blocks there were; the very same text where there were none."""
    return _remove(text, _TEXT_DEPTH) if "thinking" in text else (text, 0)


def _remove(text: str, depth: int) -> tuple[str, int]:
    if "thinking" not in text or '"' not in text or not depth:
        return text, 0
    try:
        tree = json.loads(text)
        if isinstance(tree, dict | list):
            tree, count = _walk(tree, depth)
            return (_written(tree), count) if count else (text, 0)
    except (ValueError, RecursionError):
        pass
    return _scan(text)


def _written(tree: Any) -> str:
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can hold
        return json.dumps(tree, separators=(",", ":"))
    return text


def _walk(node: Any, depth: int) -> tuple[Any, int]:
    """A node of a JSON tree without thinking, and how many blocks it had."""
    if node.__class__ is str:
        return _remove(node, depth - 1)
    if node.__class__ is list:
        out: list[Any] = []
        total = run = 0
        for item in node:
            kept, count = _walk(item, depth)
            if count and _is_block(item):
                if run:
                    out.pop()
                run += count
                out.append(_block(run))
            else:
                run = 0
                out.append(kept)
            total += count
        return out, total
    if node.__class__ is not dict:
        return node, 0
    if _is_block(node):
        return _block(1), 1
    found: dict[str, Any] = {}
    total = 0
    for key, value in node.items():
        found[key], count = _walk(value, depth)
        total += count
    return found, total


def _is_block(node: Any) -> bool:
    if node.__class__ is not dict:
        return False
    thought = node.get("thinking")
    if thought.__class__ is str:
        return not thought.startswith(MARK[:10])
    return node.get("type") in _TYPES


def _block(count: int) -> dict[str, Any]:
    return {"type": "thinking", "thinking": MARK.format(count)}


def _scan(text: str) -> tuple[str, int]:
    """A text that cannot be parsed without the values that may be thinking."""
    text, count = _cut(text, _THOUGHT)
    if "redacted_thinking" in text:
        text, more = _cut(text, _REDACTED)
        count += more
    return text, count


def _cut(text: str, name: re.Pattern[str]) -> tuple[str, int]:
    parts: list[str] = []
    end = count = 0
    while (match := name.search(text, end)) is not None:
        stop = _closing(text, match.end(), len(match[1]))
        thought = match[2] != "signature"
        parts += (text[end : match.end()], MARK.format(1) if thought else "")
        count += thought
        end = stop
    if not parts:
        return text, 0
    parts.append(text[end:])
    return "".join(parts), count


def _closing(text: str, start: int, backslashes: int) -> int:
    """Where the quote with so many backslashes stands that closes a string; the text's end where there is none."""
    for match in _QUOTE.finditer(text, start):
        run = len(match[1])
        # Within the string a quote has more backslashes, and a backslash before its end comes in whole groups.
        if run >= backslashes and (run - backslashes) % (2 * (backslashes + 1)) == 0:
            return match.end() - 1 - backslashes
    return len(text)
