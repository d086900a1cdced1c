"""Errors of the gateway, and what each means over gRPC and over HTTP.

MillraceError
├── RetryableError
│   └── Busy                    full, Kafka away or slow, not started yet: UNAVAILABLE, 503 with Retry-After
└── PermanentError
    └── Refused                 the request will be refused again, for one of the reasons in REASONS

The client must not re-send what was refused (OTLP: only UNAVAILABLE and a few others are retryable), and must re-send
what met Busy: nothing of it counts as stored, even when a part was.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from schemas.errors import MillraceError, PermanentError, RetryableError


@dataclass(frozen=True, slots=True)
class Meaning:
    """One error over both transports."""

    grpc: grpc.StatusCode
    http: int

    @property
    def code(self) -> int:
        """The number in google.rpc.Status."""
        return int(self.grpc.value[0])


REASONS = {
    "no_key": Meaning(grpc.StatusCode.UNAUTHENTICATED, 401),
    "wrong_key": Meaning(grpc.StatusCode.UNAUTHENTICATED, 401),
    "not_an_ingest_key": Meaning(grpc.StatusCode.PERMISSION_DENIED, 403),
    "unknown_path": Meaning(grpc.StatusCode.UNIMPLEMENTED, 404),
    "wrong_method": Meaning(grpc.StatusCode.UNIMPLEMENTED, 405),
    "too_large": Meaning(grpc.StatusCode.INVALID_ARGUMENT, 413),
    "too_many_records": Meaning(grpc.StatusCode.INVALID_ARGUMENT, 413),
    "unsupported_content_type": Meaning(grpc.StatusCode.INVALID_ARGUMENT, 415),
    "unsupported_encoding": Meaning(grpc.StatusCode.INVALID_ARGUMENT, 415),
    "large_head": Meaning(grpc.StatusCode.INVALID_ARGUMENT, 431),
    "malformed_head": Meaning(grpc.StatusCode.INVALID_ARGUMENT, 400),
    "malformed_body": Meaning(grpc.StatusCode.INVALID_ARGUMENT, 400),
}
TEXT_CHARS_MAX = 400
"""Over gRPC the text goes twice into trailers, of which clients take 8 KiB."""
_MALFORMED = REASONS["malformed_body"]
_BUSY = Meaning(grpc.StatusCode.UNAVAILABLE, 503)
_INTERNAL = Meaning(grpc.StatusCode.INTERNAL, 500)


class Refused(PermanentError):
    """A request that must not be sent again as it is.

    Args:    reason: a key of REASONS.
    """


class Busy(RetryableError):
    """A request that was not, or not surely, stored; sent again it will be."""


def meaning(error: BaseException) -> Meaning:
    """The one place where our errors become codes."""
    if isinstance(error, RetryableError):
        return _BUSY
    if isinstance(error, PermanentError):
        return REASONS.get(error.reason, _MALFORMED)
    return _INTERNAL


def retry_after_s(error: BaseException) -> float | None:
    """How long the client should wait; None where re-sending is of no use."""
    return error.retry_after_s if isinstance(error, RetryableError) else None


def text(error: BaseException) -> str:
    """What the client may read: our own errors speak, anything else is an internal error."""
    return str(error)[:TEXT_CHARS_MAX] if isinstance(error, MillraceError) else "internal error"
