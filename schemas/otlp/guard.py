"""Privacy in one request: its records as the tenant's policy lets them be, before they are encoded.

Ids, keys and user keys are made of what was sent, so that a change of policy neither doubles records nor moves them to
other partitions. Texts of class detail and content lose thinking and secrets before anything is derived from them; what
is dropped or hashed is so at the very end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from schemas import records
from schemas.otlp.bindings import DEFAULT_NAMES, NAMED_IN_SETTINGS, AttributeNames
from schemas.otlp.content import CONTENT_MARK, REDACTED
from schemas.otlp.model import SCOPE_PREFIX
from schemas.policy import ACTIONS, Action, Policy, hashed, secrets, thinking
from schemas.policy.policy import INDISPENSABLE, class_of, field_of
from schemas.records import Class

_MARKS = (REDACTED, CONTENT_MARK)
_MAPS = {
    "attributes": "attributes",
    "attributes_json": "attributes",
    "resource_attributes": "resource_attributes",
    "resource_attributes_json": "resource_attributes",
}
_RESOURCE, _SCOPE = "resource.", "scope."
# Fields whose text has another place on the content topic.
_FIELDS = {"status.message": "status_message"}
_ORIGINAL_SPARE = 1024
_GONE = object()


@functools.lru_cache(maxsize=4096)  # requests repeat the same few names
def _mask_name(text: str) -> tuple[str, int, dict[str, int]]:
    found: dict[str, int] = {}
    return *secrets.mask(text, found), found


class Guard:
    """What a policy does with the records of one kind in one request.

    found: secrets that were masked, by rule.  changes: whether the policy drops or hashes anything.

    Args:    names: the attributes of team, department and cost center.
    """

    def __init__(self, policy: Policy, hash_key: bytes, record: str, names: AttributeNames = DEFAULT_NAMES) -> None:
        self.found: dict[str, int] = {}
        self.changes = policy.changes
        self.version = policy.version or None
        self._policy = policy
        self._key = hash_key
        self._masks = {cls: policy.masks(cls) for cls in records.CLASSES}
        self._drops_content = policy.classes.get("content") == "drop"
        self._records: dict[str, list[tuple[str, Action, Any]]] = {}
        self._names: dict[tuple[str, str], Action] = {}
        self._settings = dict(zip(names, NAMED_IN_SETTINGS, strict=True))
        self._record = record

    # -- texts ----------------------------------------------------------------------------------------------------
    def clean(self, text: str, cls: Class = "detail") -> tuple[str, int]:
        """A text without thinking and, where the policy masks, secrets; and how many secrets there were."""
        if "thinking" in text or "\\u00" in text:
            text, _ = thinking.remove(text)
        return secrets.mask(text, self.found) if self._masks[cls] else (text, 0)

    def name(self, text: str) -> tuple[str, int]:
        """The same for a name, which stands in texts of class usage as well."""
        if not self._masks["detail"]:
            return text, 0
        shown, masked, found = _mask_name(text)
        for rule, count in found.items():
            self.found[rule] = self.found.get(rule, 0) + count
        return shown, masked

    def repeated_name(self, text: str) -> str:
        """A name without secrets where they need not be counted, as it stands in its own place too."""
        return _mask_name(text)[0] if self._masks["detail"] else text

    def content(self, place: str, text: str) -> str | None:
        """A clean text of class content as its topic may have it, None for not at all. place: where it stood."""
        if not self.changes:
            return text
        action = self._named("content", place, self._content_action)
        return text if action == "keep" else self._hash(text) if action == "hash" else None

    def original(self, raw: bytes, most: int) -> tuple[bytes, str]:
        """The first `most` bytes of a rejected record as it came, or b"" and why it is not kept.

        Nobody can tell what stands where in it, so it is kept whole or not at all: not where the policy changes
        anything, nor where it speaks of thinking. Secrets in it are masked.
        """
        if self.changes:
            return b"", "the policy keeps no original"
        text = raw.decode("utf-8", "surrogateescape")
        if thinking.named(text):
            return b"", "no original is kept, as it may hold thinking"
        raw = raw[: most + _ORIGINAL_SPARE]
        text = raw.decode("utf-8", "surrogateescape")
        cleaned, _ = self.clean(text, "content" if self._masks["content"] else "detail")
        return (raw if cleaned == text else cleaned.encode("utf-8", "surrogateescape"))[:most], ""

    # -- values ---------------------------------------------------------------------------------------------------
    def attribute(self, key: str, value: Any) -> Any:
        """An attribute without a field, as it may be shown: its members as their own names demand."""
        if "thinking" in key and thinking.thought(key, value):
            return thinking.MARK.format(1)
        kind = value.__class__
        if self.changes and (kind is dict or kind is list):
            return self._tree(value)
        return value

    def attributes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of a span's event, a link or an exemplar."""
        if not self.changes:
            return {key: self.attribute(key, value) for key, value in values.items()}
        return {key: shown for key, value in values.items() if (shown := self._member(key, value)) is not _GONE}

    def apply(self, values: dict[str, Any], record: str = "") -> None:
        """Drop and hash, in place: fields and the entries of maps."""
        if not self.changes:
            return
        record = record or self._record
        actions = self._records.get(record)
        if actions is None:
            actions = self._records[record] = self._actions(record)
        for name, action, default in actions:
            value = values.get(name)
            if value is not None:
                values[name] = self._changed(action, value, default)
        for name, place in _MAPS.items():
            if entries := values.get(name):
                values[name] = self._entries(place, entries)
        if self._drops_content:
            for name, value in values.items():
                if value == CONTENT_MARK and records.record(record).by_name[name].nullable:
                    values[name] = None

    # -- what becomes of what -------------------------------------------------------------------------------------
    def _actions(self, record: str) -> list[tuple[str, Action, Any]]:
        """(field, action, what stands for a dropped value) of all fields but the maps and what is kept."""
        found: list[tuple[str, Action, Any]] = []
        for f in records.record(record).fields:
            action = self._policy.action(f.name, f.cls)
            # The text of a content row was changed by the name of its place; the mark of an event stays under hash.
            if action == "keep" or f.name in _MAPS or (record == "claude_content" and f.name == "text"):
                continue
            found.append((f.name, action, None if f.nullable else f.default))
        return found

    def _changed(self, action: Action, value: Any, default: Any) -> Any:
        if action == "hash" and value.__class__ is str:
            return value if value in _MARKS else self._hash(value)
        return default

    def _entries(self, place: str, entries: Mapping[str, str]) -> dict[str, str]:
        kept: dict[str, str] = {}
        for wire, value in entries.items():
            action = self._named(place, wire, self._attribute_action)
            if action == "keep" and not (self._drops_content and value == CONTENT_MARK):
                kept[wire] = value
            elif action == "hash":
                kept[wire] = value if value in _MARKS else self._hash(value)
        return kept

    def _named(self, place: str, wire: str, find: Callable[[str, str], Action]) -> Action:
        action = self._names.get((place, wire))
        if action is None:
            action = find(place, wire)
            if len(self._names) < 4096:
                self._names[place, wire] = action
        return action

    def _attribute_action(self, place: str, wire: str) -> Action:
        return self._policy.attribute(place, wire, self._settings)

    def _content_action(self, _: str, place: str) -> Action:
        """The stricter of what is said of content and of the place: of its field, else of unknown attributes."""
        policy = self._policy
        map_, wire = "attributes", place
        if place.startswith(_RESOURCE):
            map_, wire = "resource_attributes", place.removeprefix(_RESOURCE)
        elif place.startswith(_SCOPE):
            map_, wire = "resource_attributes", SCOPE_PREFIX + place.removeprefix(_SCOPE)
        said = policy.fields.get(_FIELDS.get(place, place)) or policy.fields.get(f"{map_}.{wire}")
        if said is not None:
            return said
        name = field_of(wire, self._settings)
        # What is too long for an id, or no name, is a text like any other.
        own = (
            policy.action(map_, "detail") if not name or name in INDISPENSABLE else policy.action(name, class_of(name))
        )
        return max(policy.classes.get("content", "keep"), own, key=ACTIONS.index)

    def _member_action(self, _: str, key: str) -> Action:
        said = self._policy.fields.get(f"attributes.{key}")
        if said is not None:
            return said
        name = field_of(key, self._settings)
        return self._policy.action(name, class_of(name)) if name else "keep"

    def _member(self, key: str, value: Any) -> Any:
        """A member of a tree, _GONE where it is dropped."""
        action = self._named("member", key, self._member_action)
        if action == "keep":
            return self.attribute(key, value)
        return self._changed(action, value, _GONE)

    def _tree(self, value: Any) -> Any:
        if value.__class__ is dict:
            return {key: shown for key, each in value.items() if (shown := self._member(key, each)) is not _GONE}
        return [self._tree(each) for each in value] if value.__class__ is list else value

    def _hash(self, text: str) -> str:
        return hashed(text, self._policy.hash_key, self._key)
