"""What each error means over both transports, and what the client may read of it."""

from __future__ import annotations

import grpc

from ingest_gateway.errors import REASONS, TEXT_CHARS_MAX, Busy, Refused, meaning, retry_after_s, text
from schemas.errors import OtlpError

RETRYABLE_HTTP = {429, 502, 503, 504}  # the OTLP specification's list
RETRYABLE_GRPC = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}


def test_no_refusal_is_retryable_over_either_transport() -> None:
    for reason, expected in REASONS.items():
        assert meaning(Refused("x", reason=reason)) is expected
        assert expected.http not in RETRYABLE_HTTP
        assert expected.grpc.name not in RETRYABLE_GRPC
        assert retry_after_s(Refused("x", reason=reason)) is None


def test_busy_is_retryable_over_both_and_says_when() -> None:
    busy = Busy("x", retry_after_s=3.0)
    assert (meaning(busy).grpc, meaning(busy).code, meaning(busy).http) == (grpc.StatusCode.UNAVAILABLE, 14, 503)
    assert retry_after_s(busy) == 3.0


def test_a_body_that_cannot_be_decoded_is_a_bad_request_whatever_the_reason() -> None:
    for reason, http in (("malformed_json", 400), ("malformed_protobuf", 400), ("too_deep", 400), ("too_large", 413)):
        assert meaning(OtlpError("x", reason=reason)).http == http


def test_a_bug_is_an_internal_error_and_says_nothing_of_itself() -> None:
    assert (meaning(KeyError("secret")).grpc, meaning(KeyError("secret")).http) == (grpc.StatusCode.INTERNAL, 500)
    assert text(KeyError("secret")) == "internal error"


def test_a_text_fits_into_the_trailers_of_grpc() -> None:
    assert len(text(Refused("x" * 100_000, reason="malformed_body"))) == TEXT_CHARS_MAX
