"""The rules of gitleaks for Python's `re`, and for texts that are pieces of JSON.

gitleaks.toml is the file of its release, so that a new one only replaces it. Here the difference is bridged: Go's
`(?i)` in mid-pattern, and, as our texts often are JSON and JSON inside of JSON, escaped quotes and line breaks.
"""

from __future__ import annotations

import re
from typing import Any

_ASSIGNS = r"(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)"
_REPLACED = (
    ("[[:alnum:]]", "[A-Za-z0-9]"),
    (r"\z", r"\Z"),
    # What stands before the vendor's name is not the secret, and looking for it costs most of the time.
    (r"[\w.-]{0,50}?", ""),
    # The end of a secret: theirs is a quote, a space, `;` or a line break; ours is whatever cannot belong to one.
    (r"(?:[\x60'\"\s;]|\\[nr]|$|\b)", r"(?![A-Za-z0-9_-])"),
    (r"(?:[\x60'\"\s;]|\\[nr]|$)", r"(?![A-Za-z0-9_-])"),
    (r"[\s'\"]{0,3}", r"[\s'\"\\]{0,6}"),
    (r"[\x60'\"\s=]{0,5}", r"[\x60'\"\s=\\]{0,9}"),
)
BOUNDARY = r"(?:\b|(?<=\\[nrt]))"
"""`\b` for texts in which a line break may be written \\n, with a letter before what begins the next line."""

_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\(\?i\)|\(\?:|\(|\)|.", re.DOTALL)


def pattern(rule: dict[str, Any]) -> str:
    """The pattern of a rule. It finds all that gitleaks' own finds, and a secret between escaped quotes or breaks."""
    text = str(rule["regex"])
    for go, python in _REPLACED:
        text = text.replace(go, python)
    flags = "(?i)" if text.startswith("(?i)") else ""
    text = text.removeprefix("(?i)")
    if text.startswith(r"\b"):
        text = BOUNDARY + text.removeprefix(r"\b")
    return flags + _scoped(text)


def entropy(rule: dict[str, Any]) -> float:
    """Bits a character that a secret must have. 0 for one that its own form gives away: hiding too much is no harm."""
    return float(rule.get("entropy", 0)) if _ASSIGNS in rule["regex"] else 0.0


def _scoped(text: str) -> str:
    """`a(?i)b` as `a(?i:b)`: Go's flag holds to the end of its group."""
    out: list[str] = []
    opened = [0]  # scopes of `(?i:` to close, for each open group
    for part in _PART.findall(text):
        if part == "(?i)":
            out.append("(?i:")
            opened[-1] += 1
            continue
        if part in ("(", "(?:"):
            opened.append(0)
        elif part == ")":
            out.append(")" * opened.pop())
        out.append(part)
    return "".join(out) + ")" * opened.pop()
