"""Secrets in texts: found by the rules of a well-kept detector and by our own, replaced by `<MASKED:rule>`.

A text is searched by a rule only if it has one of the rule's keywords, and for most rules only if it has a run of
RUN characters that a token may be made of, which commands and prose seldom have. Patterns are compiled when they are
first needed.
"""

from __future__ import annotations

import functools
import math
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from schemas.policy import gitleaks

GITLEAKS_VERSION = "8.30.1"
MARK = "<MASKED:"
RUN = 16

_FOLDER = Path(__file__).parent
_SHORTEST = 8
_RUN = b"x" * RUN
_TOKEN = bytes(120 if chr(i).isascii() and (chr(i).isalnum() or chr(i) in "_-") else 32 for i in range(256))
# Rules of gitleaks whose secrets may be shorter than RUN. generic-api-key is not: our own rules find by name.
_SHORT = frozenset(("slack-app-token", "slack-legacy-workspace-token", "slack-bot-token", "slack-legacy-token"))
# Each keyword of a rule that is not long has one of these in it; most texts have none.
ROOTS = (
    "pass",
    "key",
    "token",
    "secret",
    "cred",
    "pwd",
    "sig",
    "auth",
    "bearer",
    "://",
    "curl",
    "mysql",
    "shared",
    "xox",
    "xapp",
    "cookie",
    "redis",
    "login",
    "vault",
    "sqlplus",
    "http ",
    "https ",
)
# A template's place for a secret is none.
_PLACEHOLDER = re.compile(
    r"(?i)true|false|null|none|undefined|\*+|x+|\.+|\$\{?\w*\}?|%\w+%|\{\{.*|<REDACTED>|<content>"
)


class Rule:
    """One rule. `groups`: whether the secret is the first group (gitleaks) or the last (ours)."""

    __slots__ = ("_pattern", "_source", "allowed", "entropy", "first", "id", "keywords", "long", "stopwords")

    def __init__(self, spec: dict[str, Any], *, ours: bool) -> None:
        self.id = str(spec["id"])
        self.keywords = tuple(spec["keywords"])
        self.first = not ours
        self.long = bool(spec.get("long")) if ours else self.id not in _SHORT
        self.entropy = 0.0 if ours else gitleaks.entropy(spec)
        self.allowed: list[str] = []
        self.stopwords: list[str] = []
        if self.entropy:
            for one in spec.get("allowlists", ()):
                if "paths" not in one and one.get("regexTarget") != "line":
                    self.allowed += one.get("regexes", ())
                    self.stopwords += one.get("stopwords", ())
        self._source = spec["regex"].replace(r"\b", gitleaks.BOUNDARY) if ours else gitleaks.pattern(spec)
        self._pattern: re.Pattern[str] | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """What it looks for."""
        if self._pattern is None:
            self._pattern = re.compile(self._source)
        return self._pattern

    def mask(self, text: str) -> tuple[str, int]:
        """The text without the secrets of this rule, and how many there were."""
        parts: list[str] = []
        end = 0
        for match in self.pattern.finditer(text):
            group = self._group(match)
            start, stop = match.span(group)
            # A backslash at its end belongs to what follows: a quote of the JSON around it.
            secret = text[start:stop].rstrip("\\")
            stop = start + len(secret)
            if start >= end and secret and MARK not in match[0] and self._is_one(secret, match[0]):
                parts += (text[end:start], MARK, self.id, ">")
                end = stop
        if not parts:
            return text, 0
        parts.append(text[end:])
        return "".join(parts), len(parts) // 4

    def _group(self, match: re.Match[str]) -> int:
        if self.first:
            return next((i for i, found in enumerate(match.groups(), 1) if found), 0)
        return match.lastindex or 0

    def _is_one(self, secret: str, match: str) -> bool:
        if _PLACEHOLDER.fullmatch(secret):
            return False
        if not self.entropy:
            return True
        if _entropy(secret) < self.entropy:
            return False
        lower = secret.lower()
        return not any(word in lower for word in self.stopwords) and not any(
            _compiled(each).search(text) for each in self.allowed for text in (secret, match)
        )


@functools.cache
def _compiled(go: str) -> re.Pattern[str]:
    return re.compile(gitleaks.pattern({"regex": go}))


def _entropy(secret: str) -> float:
    """Shannon's, in bits a character."""
    size = len(secret)
    return -sum(n / size * math.log2(n / size) for n in Counter(secret).values())


@functools.cache
def rules() -> tuple[Rule, ...]:
    """All rules, in the order in which they look: gitleaks', then ours, then gitleaks' most general."""
    own = tomllib.loads((_FOLDER / "rules.toml").read_text(encoding="utf-8"))
    theirs = tomllib.loads((_FOLDER / "gitleaks.toml").read_text(encoding="utf-8"))
    found = [Rule(spec, ours=False) for spec in theirs["rules"] if spec["id"] not in own["left_out"]]
    general = [rule for rule in found if rule.id == "generic-api-key"]
    found = [rule for rule in found if rule.id != "generic-api-key"]
    return (*found, *(Rule(spec, ours=True) for spec in own["rules"]), *general)


@functools.cache
def _keywords() -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Keyword → places of its rules: of those for any text, and of those for texts with a run."""
    tables: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
    for place, rule in enumerate(rules()):
        for keyword in rule.keywords:
            tables[rule.long].setdefault(keyword, []).append(place)
    return tables


def mask(text: str, found: dict[str, int]) -> tuple[str, int]:
    """The text with a mark in place of each secret, and how many there were; counts them by rule in `found`."""
    if len(text) < _SHORTEST:
        return text, 0
    lower = text.lower()
    short, long = _keywords()
    places: set[int] = set()
    for root in ROOTS:
        if root in lower:
            places.update([place for keyword in short if keyword in lower for place in short[keyword]])
            break
    if _RUN in text.encode("utf-8", "surrogatepass").translate(_TOKEN):
        places.update([place for keyword in long if keyword in lower for place in long[keyword]])
    if not places:
        return text, 0
    total = 0
    every = rules()
    for place in sorted(places):
        text, count = every[place].mask(text)
        if count:
            total += count
            found[every[place].id] = found.get(every[place].id, 0) + count
    return text, total
