"""The roots of all our errors, and the errors of this package.

MillraceError
├── RetryableError(retry_after_s)      the same input may succeed later: Kafka away, a full queue
└── PermanentError(reason)             the same input will fail again
    ├── CodecError                     bytes that are no record, or a value that does not fit its schema
    │   └── UnknownSchema              a frame that names a schema which this record cannot be read by
    ├── OtlpError                      a request body that cannot be decoded, or is over a limit
    ├── RoutingError(rule)             routing rules that make no sense
    ├── KeyFormatError                 text that is no API key
    └── RoleError                      a role, grant or row rule that is none

`reason` is a short fixed word from a closed set, usable as a metric label; str(error) is for people.
"""

from __future__ import annotations


class MillraceError(Exception):
    """Every error that we raise on purpose."""


class RetryableError(MillraceError):
    """The same call may succeed later.

    Args:    retry_after_s: how long to wait before trying again, seconds, >= 0.
    """

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(MillraceError):
    """The same call will fail again.

    Args:    reason: short fixed word, usable as a metric label.
    """

    def __init__(self, message: str, *, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason


class CodecError(PermanentError):
    """Bytes that are no record (malformed_record), or a value that does not fit its schema (unencodable_record).

    Args:    record: name of the record meant.  index: position of the bytes in the chunk that was read, else None.
    """

    def __init__(
        self, message: str, *, reason: str = "malformed_record", record: str = "", index: int | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.record = record
        self.index = index


class UnknownSchema(CodecError):
    """A frame that names a schema which the record cannot be read by (unknown_schema).

    Args:    topic: short name of the topic that the record stands in.  schema: the registry's id, or a fingerprint.
             why: what is wrong with it.
    """

    def __init__(self, record: str, topic: str, schema: int | bytes, why: str) -> None:
        name = f"schema id {schema}" if isinstance(schema, int) else f"schema fingerprint {schema.hex()}"
        super().__init__(f"{record} (topic {topic}): {name}: {why}", reason="unknown_schema", record=record)
        self.topic = topic
        self.schema = schema
        self.why = why


class OtlpError(PermanentError):
    """An OTLP request that cannot be decoded or is over a limit; the whole request is refused.

    Reasons: malformed_protobuf, malformed_json, too_deep, too_many_records, too_large, unsupported_content_type.
    """


class KeyFormatError(PermanentError):
    """Text that is no API key of ours (malformed_key)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="malformed_key")


class RoutingError(PermanentError):
    """Routing rules that make no sense; none of them is taken.

    Reasons: malformed_rules, bad_name, double_name, unknown_condition, unknown_route, bad_version, unreachable_rule.

    Args:    rule: name of the rule at fault, "" where it has none.
    """

    def __init__(self, message: str, *, reason: str = "malformed_rules", rule: str = "") -> None:
        super().__init__(f"routing rule {rule!r}: {message}" if rule else f"routing rules: {message}", reason=reason)
        self.rule = rule


class RoleError(PermanentError):
    """A role, a grant or a row rule that is none, or a change of a role that cannot be made (invalid_role)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="invalid_role")
