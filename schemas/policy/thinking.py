"""Thinking is never stored: what a model thought is taken out of every text, whatever the tenant's policy.

The client leaves it out of the bodies that it sends, as far as it says; tools' output (a transcript that was read) and
other senders may hold it. A text that is whole JSON loses its thinking blocks, and members called so, and says in their
place how many there were. A text that is none, because it was cut, is several or is Python's way to show objects, loses
the values that may be thinking, to its end where that is inside of one. (A signature, or the data of a redacted block,
that stands before anything says that it is one, in a text cut in between, cannot be told from any other base64; both
are encrypted.)
"""

from __future__ import annotations

import json
import re
from typing import Any

MARK = "<THINKING:{}>"
NAMES = ("thinking", "redacted_thinking", "thinking_delta")

_TYPES = (*NAMES, "signature_delta")
# What a request says of thinking is none: {"type":"enabled","budget_tokens":1024}.
_SETTINGS = ("enabled", "disabled", "adaptive", "omitted", "summarized")
_SETTING = re.compile(
    r"""\{(?:\s{0,20}+\\{0,99}+["'][a-z_]{1,20}\\{0,99}+["']\s{0,20}+:\s{0,20}+"""
    rf"""(?:\\{{0,99}}+["'](?:{"|".join(_SETTINGS)})\\{{0,99}}+["']|[0-9]{{1,12}}|true|false|null)"""
    r"""\s{0,20}+,?){1,8}+\s{0,20}+\}"""
)
# Letters as escapes, which hide a name.
_ESCAPED = re.compile(r"(?<!\\)\\++u00(5[fF]|6[1-9a-fA-F]|7[0-9aA])")


def _member(names: str) -> str:
    """A member's name. The backslashes before its quote say how many strings deep it is."""
    return rf"""(?<!\\)(\\*+)(["'])(?:{names})\1\2\s*+:"""


_STRING = r"""(\\*+)(["'])(?!\\*<THINKING:)"""
_THOUGHT = re.compile(  # and Python's way to write an argument
    rf"""(?:{_member("|".join(NAMES))}|(?:(?<![\w.-])|(?<=\\[nrt]))thinking\s{{0,20}}+=(?=\s{{0,20}}+\\*+["']))"""
    rf"""\s*+(?:{_STRING}|([\[{{])|(-?[0-9][0-9.eE+-]{{0,40}}+))"""
)
_SIGNATURE = re.compile(_member("signature") + r"\s*+" + _STRING)
_REDACTED = re.compile(_member("data") + r"\s*+" + _STRING)
_QUOTE = re.compile(r'(?<!\\)(\\*+)"')
_PART = re.compile(r"""(?<!\\)(\\*+)(["'])|[\[{]|([\]}])""")
_TEXT_DEPTH = 8


def named(text: str) -> bool:
    """Whether a text, in any of its spellings, speaks of thinking at all."""
    return "thinking" in text or ("\\u00" in text and "thinking" in _spelled(text))


def thought(name: str, value: Any) -> bool:
    """Whether the value of a member, or an attribute, is thinking by its name."""
    if name.rpartition(".")[2] not in NAMES or value is None or value.__class__ is bool:
        return False
    if value.__class__ is str:
        return not value.startswith(MARK[:10])
    if value.__class__ is not dict:
        return bool(value)
    return not all(
        each in _SETTINGS if each.__class__ is str else each is None or isinstance(each, int | float)
        for each in value.values()
    )


def remove(text: str) -> tuple[str, int]:
    """The text without thinking, and how many blocks there were; the very same text where there were none."""
    return _remove(text, _TEXT_DEPTH)


def _spelled(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def _remove(text: str, depth: int) -> tuple[str, int]:
    if not depth or not named(text):
        return text, 0
    if '"' in text:
        try:
            tree = json.loads(text)
            if isinstance(tree, dict | list):
                tree, count = _walk(tree, depth)
                return (_written(tree), count) if count else (text, 0)
        except (ValueError, RecursionError):
            pass
    elif "'" not in text:
        return text, 0
    spelled = _spelled(text)
    found, count = _scan(spelled)
    return (text, 0) if found == spelled else (found, count)


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
        found[key], count = (MARK.format(1), 1) if thought(key, value) else _walk(value, depth)
        total += count
    return found, total


def _is_block(node: Any) -> bool:
    if node.__class__ is not dict:
        return False
    said = node.get("thinking")
    if said.__class__ is str:
        return not said.startswith(MARK[:10])
    return node.get("type") in _TYPES


def _block(count: int) -> dict[str, Any]:
    return {"type": "thinking", "thinking": MARK.format(count)}


def _scan(text: str) -> tuple[str, int]:
    """A text that cannot be parsed without the values that may be thinking."""
    text, count = _cut(text, _THOUGHT, MARK.format(1))
    text, _ = _cut(text, _SIGNATURE, "")
    if "redacted_thinking" in text:
        text, more = _cut(text, _REDACTED, MARK.format(1))
        count += more
    return text, count


def _cut(text: str, name: re.Pattern[str], mark: str) -> tuple[str, int]:
    """The text with the mark in place of the values of a name, and how many there were."""
    parts: list[str] = []
    end = count = searched = 0
    while (match := name.search(text, searched)) is not None:
        start = searched = match.end()
        if match[4]:
            stop = _closing(text, start, match[4], len(match[3]))
        elif match[5]:
            start -= 1
            if _SETTING.match(text, start):
                continue
            stop = _balanced(text, start)
        else:
            start, stop = match.span(6)
        parts += (text[end:start], mark)
        count += 1
        end = searched = stop
    if not parts:
        return text, 0
    parts.append(text[end:])
    return "".join(parts), count


def _balanced(text: str, start: int) -> int:
    """Where a list or an object ends; the text's end where it does not."""
    depth, at = 0, start
    while (match := _PART.search(text, at)) is not None:
        at = match.end()
        if match[2]:
            at = _closing(text, at, match[2], len(match[1])) + len(match[1]) + 1
            continue
        depth += -1 if match[3] else 1
        if not depth:
            return at
    return len(text)


def _closing(text: str, start: int, quote: str, backslashes: int) -> int:
    """Where the quote with so many backslashes stands that closes a string; the text's end where there is none."""
    if quote == "'":
        # JSON does not escape it, so that its backslashes are Python's, whatever the JSON around it made of them.
        while (found := text.find("'", start)) > 0 and text[found - 1] == "\\":
            start = found + 1
        return found if found >= 0 else len(text)
    for match in _QUOTE.finditer(text, start):
        run = len(match[1])
        # Within the string a quote has more backslashes, and a backslash before its end comes in whole groups.
        if run >= backslashes and (run - backslashes) % (2 * (backslashes + 1)) == 0:
            return match.end() - 1 - backslashes
    return len(text)
