"""Attributes to fields: what the event, point and span normalisers share.

An attribute with a field fills it, coerced. Everything else is kept: strings in `attributes`, other values as canonical
JSON in `attributes_json`. What is content (see content.py) leaves only a mark.
"""

from __future__ import annotations

from typing import Any

import orjson

from schemas.encoder import Encoder
from schemas.otlp import commands, content
from schemas.otlp.bindings import Binding, Bindings, Derivation
from schemas.otlp.client import NAME_PREFIX, UNKNOWN, client
from schemas.otlp.content import CONTENT_MARK, LONG_NAME, REDACTED
from schemas.otlp.guard import Guard
from schemas.otlp.model import SCOPE_PREFIX, Attributes, Group
from schemas.otlp.values import NOTHING, canonical, text


class Cleaner:
    """Takes thinking and secrets out of the texts of one record.

    content: what of it is for the content topic.  masked: secrets so far.
    """

    __slots__ = ("_cleaned", "content", "guard", "masked")

    def __init__(self, guard: Guard, texts: content.Texts, masked: int = 0) -> None:
        self.guard = guard
        self.content = texts
        self.masked = masked
        self._cleaned: dict[str, str] = {}

    def clean(self, text: str) -> str:
        """A text without either. The same text counts once: a field, and the attribute that it was taken from."""
        cleaned = self._cleaned.get(text)
        if cleaned is None:
            cleaned, masked = self.guard.clean(text)
            self._cleaned[text] = cleaned
            self.masked += masked
        return cleaned

    def name(self, place: str, text: str, most: int = LONG_NAME) -> str:
        """A name, an id or a text that OTLP has a place of its own for, without secrets; the mark of one too long."""
        return self.clean_name(content.name(place, text, self.content, most))

    def clean_name(self, text: str) -> str:
        """A name without secrets."""
        shown, masked = self.guard.name(text)
        self.masked += masked
        return shown

    def cleaned(self, value: Any) -> Any:
        """The same for the value of a field of class detail."""
        if value.__class__ is str:
            return self.clean(value)
        return [self.clean(item) for item in value] if value.__class__ is list else value


class Filled(Cleaner):
    """What became of the attributes of one record.

    values: field → value.  content: for the content topic; begins with what the group has for it.
    documents: attribute → its text and the JSON object that it is, of those that fields are derived from.
    """

    __slots__ = ("_texts", "documents", "errors", "held", "json", "problems", "ranks", "strings", "values")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.guard, shared.content.copy(), shared.masked)
        self.values: dict[str, Any] = {}
        self.documents: dict[str, content.Document] = {}
        self.strings: dict[str, str] = {}
        self.json: dict[str, str] = {}
        self.errors: list[str] = []
        self.problems: list[str] = []
        self.held = shared.held
        self._texts: dict[str, tuple[str, int]] = {}
        self.ranks: dict[str, tuple[int, str, Any]] = {}

    def keep(self, key: str, value: Any) -> None:
        """An attribute that no field takes."""
        value = self.guard.attribute(key, value)
        key, shown = content.attribute("", key, value, self.content)
        key = self.clean_name(key)
        if value.__class__ is str:
            self.strings[key] = self.clean(shown)
        else:
            self.json[key] = self.clean(canonical(shown))

    def hold(self, bindings: dict[str, Binding], attributes: Attributes) -> None:
        """Note the fields, or attributes without one, of which the client says that it holds them back."""
        found = (
            bindings[key].field if key in bindings else self._held_name(key)
            for key, value in attributes.items()
            if content.held_back(value)
        )
        self.held = [*self.held, *found]

    def hold_part(self, name: str, value: Any) -> None:
        """The same for a part of the record itself, or an attribute of such a part."""
        if content.held_back(value):
            self.held = [*self.held, self._held_name(name)]

    def _held_name(self, name: str) -> str:
        return self.guard.repeated_name(name) if len(name) <= LONG_NAME else CONTENT_MARK

    def rows(self) -> list[dict[str, Any]]:
        """The content rows, as the policy lets them be. Comes before `finish`, which counts what was masked."""
        if not self.content:
            return []
        texts = [(self.guard.repeated_name(place), text) for place, text in self.content]
        found = content.rows(texts, self.documents, self._show)
        self.masked += sum([row["masked"] for row in found if "masked" in row])
        return found

    def text_of(self, text: str) -> str:
        """A text of class content without thinking and secrets; they are counted by its row."""
        return self._cleaned_content(text)[0]

    def _cleaned_content(self, text: str) -> tuple[str, int]:
        found = self._texts.get(text)
        if found is None:
            found = self._texts[text] = self.guard.clean(text, "content")
        return found

    def _show(self, place: str, text: str) -> tuple[str | None, int]:
        cleaned, masked = self._cleaned_content(text)
        return self.guard.content(place, cleaned), masked

    def keep_part(self, name: str, value: Any) -> None:
        """A part of the record itself that its field cannot hold; never in the place of an attribute called so."""
        while name in self.strings or name in self.json:
            name = f"record.{name}"
        self.keep(name, value)
        self.errors.append(name)

    def keep_beside(self, place: str, key: str, value: Any) -> None:
        """What came beside the attributes, as `place` and its name, without taking the place of one called so.

        Args:    place: what it belongs to, with a dot at its end.
        """
        value = self.guard.attribute(key, value)
        key, shown = content.attribute(place, key, value, self.content)
        key = self.clean_name(key)
        name = place + key
        while key != CONTENT_MARK and (name in self.strings or name in self.json):
            name = f"record.{name}"
        if value.__class__ is str:
            self.strings[name] = self.clean(shown)
        else:
            self.json[name] = self.clean(canonical(shown))

    def keep_unread(self, unread: Attributes) -> None:
        """Words of the record itself that nobody knows."""
        for name, word in unread.items():
            self.keep_part(name, word)

    def finish(self, over_limit: int) -> dict[str, Any]:
        """The values as the policy lets them be, with the maps and flags in their fields."""
        values = self.values
        if self.strings:
            values["attributes"] = self.strings
        if self.json:
            values["attributes_json"] = self.json
        if self.errors:
            values["coercion_errors"] = sorted(self.errors)
        if over_limit:
            self.problems.append(f"attributes over the limit: {over_limit} dropped")
            values["dropped_attributes_count"] = values.get("dropped_attributes_count", 0) + over_limit
        if self.problems:
            values["pipeline_error"] = "; ".join(self.problems)
        if self.held:
            values["held_back"] = sorted(set(self.held))
        if self.masked:
            values["masked"] = self.masked
        if self.guard.changes:
            values = values.copy()  # what was sent is still asked for: the team, by the content rows
            self.guard.apply(values)
        return values


class Shared(Cleaner):
    """What the records of a group have in common: fields of the resource and the scope, encoded once.

    content: what of it is for the content topic. The first record of the group that is stored takes it along, and the
    others have only the marks: else one long text and many empty records were a long text for each of them.
    fields: as they were sent; in the base they are as the policy lets them be.  held: the names of those held back.
    masked: secrets in texts of the group, which each of its records has.
    """

    __slots__ = ("_client", "_scope", "base", "fields", "held")

    def __init__(
        self, encoder: Encoder, bindings: Bindings, group: Group, common: dict[str, Any], guard: Guard
    ) -> None:
        super().__init__(guard, [])
        self.held: list[str] = []
        self.fields: dict[str, Any] = {}
        ranks: dict[str, int] = {}
        strings: dict[str, str] = {}
        trees: dict[str, str] = {}
        for key, value in group.resource.items():
            shown, binding = value, bindings.default.get(key)
            if binding is None or binding.content:
                key, shown = self._show(key, value)
            else:
                plain = value.__class__ is str and 0 < len(value) <= binding.most
                coerced = value if plain else binding.coerce(value)
                if binding.detail:
                    coerced = self.cleaned(coerced)
                if coerced is None:
                    key, shown = self._show(key, value)
                elif coerced != "" and ranks.get(binding.field, 99) >= binding.rank:
                    self.fields[binding.field] = coerced
                    ranks[binding.field] = binding.rank
            if content.held_back(value):
                self.held.append(key if binding is None else binding.field)
            guarded = binding is None or binding.detail
            if value.__class__ is str:
                strings[key] = self.clean(shown) if guarded else shown
            else:
                trees[key] = self.clean(canonical(shown))
        self._scope = group.scope_name
        self._client = self._tell(self.fields)
        whole = {
            **self.fields,
            **common,
            "client": self._client,
            "resource_attributes": strings,
            "resource_attributes_json": trees,
            "scope_name": self.name("scope_name", group.scope_name) or None,
            "scope_version": self.name("scope_version", group.scope_version) or None,
            "schema_url": self.name("schema_url", group.schema_url) or None,
        }
        if guard.version is not None:
            whole["policy_version"] = guard.version
        guard.apply(whole)
        self.base = encoder.base(whole)

    def tell_client(self, values: dict[str, Any], *names: Any) -> None:
        """Say which client sent the record with these fields, where that is not what the group says already.

        Args:    names: what the record is called, as it was sent.
        """
        own = self._client
        if "app_entrypoint" in values or "service_name" in values:
            own = self._tell({**self.fields, **values})
        if own is None and any(name.__class__ is str and name.startswith(NAME_PREFIX) for name in names):
            own = UNKNOWN
        if own != self._client:
            values["client"] = own

    def _tell(self, fields: dict[str, Any]) -> str | None:
        return client(fields.get("service_name"), fields.get("app_entrypoint"), self._scope)

    def _show(self, key: str, value: Any) -> tuple[str, Any]:
        """An attribute of the resource, or of the scope, that no field takes."""
        value = self.guard.attribute(key, value)
        if not key.startswith(SCOPE_PREFIX):
            key, shown = content.attribute("resource.", key, value, self.content)
            return self.clean_name(key), shown
        key, shown = content.attribute("scope.", key.removeprefix(SCOPE_PREFIX), value, self.content)
        return SCOPE_PREFIX + self.clean_name(key), shown


def fill(bindings: dict[str, Binding], attributes: Attributes, shared: Shared) -> Filled:
    """The attributes of one record as fields. `shared` has the resource's, which a record's own attribute replaces."""
    filled = Filled(shared)
    values = filled.values
    find = bindings.get
    parts = REDACTED in attributes.values()
    for key, value in attributes.items():
        binding = find(key)
        if value.__class__ is list or value.__class__ is dict:
            parts = True
        if binding is None:
            filled.keep(key, value)
            continue
        if value.__class__ is str and 0 < len(value) <= binding.most:
            values[binding.field] = value
        elif binding.special:
            _special(filled, binding, key, value)
        elif (coerced := binding.coerce(value)) is not None and coerced != "":
            values[binding.field] = filled.cleaned(coerced) if binding.detail else coerced
        else:
            _unfit(filled, key, value)
            if binding.field in shared.fields:
                values[binding.field] = [] if shared.fields[binding.field].__class__ is list else None
    if parts:
        filled.hold(bindings, attributes)
    return filled


def _unfit(filled: Filled, key: str, value: Any) -> None:
    """A value that its field cannot hold stays among the attributes; it is an error unless it means nothing."""
    if value is None:
        filled.json[key] = "null"
    else:
        filled.keep(key, value)
        if value.__class__ is not str or (value not in NOTHING and value != REDACTED):
            filled.errors.append(key)


def _special(filled: Filled, binding: Binding, key: str, value: Any) -> None:
    """An attribute whose text is content, or one of several that feed a field."""
    field = binding.field
    coerced = binding.coerce(value)
    if coerced is None or coerced == "":
        _unfit(filled, key, value)
        return
    previous = filled.ranks.get(field)
    if previous is not None:
        rank, other_key, other_value = previous
        if rank <= binding.rank:
            filled.keep(key, value)
            return
        filled.keep(other_key, other_value)
    filled.ranks[field] = (binding.rank, key, value)
    if binding.content and coerced not in (REDACTED, CONTENT_MARK):
        filled.content.append((field, coerced))
        coerced = CONTENT_MARK
    elif binding.detail:
        coerced = filled.cleaned(coerced)
    filled.values[field] = coerced


def derive(filled: Filled, attributes: Attributes, parsed: tuple[str, ...], derived: tuple[Derivation, ...]) -> None:
    """Fields from the JSON texts of the attributes `parsed`; text that is no JSON is flagged, and kept as it is."""
    documents = filled.documents
    for attribute in parsed:
        value = attributes.get(attribute)
        if value.__class__ is str and value and value not in (REDACTED, CONTENT_MARK) and value not in NOTHING:
            value = filled.text_of(value)
            try:
                value = orjson.loads(value)
            except ValueError:
                filled.problems.append(f"{attribute}: malformed JSON")
                continue
        if isinstance(value, dict):
            source = attributes[attribute]
            documents[attribute] = (filled.text_of(source if source.__class__ is str else canonical(source)), value)
    if not documents:
        return
    for field, paths in derived:
        if field in filled.values:
            continue
        for attribute, member in paths:
            found = documents[attribute][1].get(member) if attribute in documents else None
            if found.__class__ is str or isinstance(found, (int, float)):
                found = text(found)
                if found:
                    filled.values[field] = filled.clean(found)
                    if found == REDACTED:
                        filled.held = [*filled.held, field]
                    break


def derive_tool(values: dict[str, Any]) -> None:
    """Fields that are taken from other fields of a tool's event or span: program, host, MCP server and tool."""
    command = values.get("command_line") or values.get("full_command")
    if command and (program := commands.executable(command)) is not None:
        values["command_executable"] = program
    url = values.get("url")
    if url and (host := commands.host(url)) is not None:
        values["url_host"] = host
    name = values.get("tool_name")
    if name and name.startswith("mcp__"):
        server, _, tool = name[5:].partition("__")
        if server and tool:
            values.setdefault("mcp_server", server)
            values.setdefault("mcp_tool", tool)
