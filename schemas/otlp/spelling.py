"""Attribute names as routers spell them: `session_id` for `session.id`, put right before anything else looks at them.

Only names of the schema are put right, and only where the record does not have the dotted one as well. The name that
was sent is kept in the record's `renamed`, a resource's with `resource.` before it.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from schemas.otlp.bindings import AttributeNames, bindings
from schemas.otlp.model import Attributes, Group, Malformed

RESOURCE = "resource."


class Spelling:
    """The dotted names of one record, by their spelling with underscores."""

    def __init__(self, record: str, names: AttributeNames) -> None:
        found = bindings(record, names)
        known = {name for table in (found.default, *found.by_event.values()) for name in table}
        self._dotted = {name.replace(".", "_"): name for name in known if "." in name}
        for name in known:
            self._dotted.pop(name, None)
        self._spelled = frozenset(self._dotted)

    def group(self, group: Group) -> Group:
        """The group with all names put right; itself where they are."""
        right = self._spelled.isdisjoint
        resource = group.resource
        of_resource: tuple[str, ...] = ()
        if not right(resource):
            resource, of_resource = self._attributes(resource)
        records = group.records
        for index, record in enumerate(records):
            if record.__class__ is Malformed or (right(record.attributes) and not of_resource):
                continue
            if records is group.records:
                records = records.copy()
            records[index] = self._record(record, of_resource)
        return group if records is group.records else replace(group, resource=resource, records=records)

    def _record(self, record: Any, of_resource: tuple[str, ...]) -> Any:
        attributes, renamed = self._attributes(record.attributes)
        return record._replace(attributes=attributes, renamed=(*renamed, *(RESOURCE + name for name in of_resource)))

    def _attributes(self, attributes: Attributes) -> tuple[Attributes, tuple[str, ...]]:
        """The attributes with their names put right, and the names that were not."""
        renamed = {key: self._dotted[key] for key in self._spelled.intersection(attributes)}
        renamed = {key: name for key, name in renamed.items() if name not in attributes}
        if not renamed:
            return attributes, ()
        return {renamed.get(key, key): value for key, value in attributes.items()}, tuple(sorted(renamed))


@functools.lru_cache(maxsize=64)
def spelling(record: str, names: AttributeNames) -> Spelling:
    """The spelling of a record; `names` are the attributes of team, department and cost center."""
    return Spelling(record, names)
