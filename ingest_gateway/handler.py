"""The one handler: many requests at once in, their outcomes out. The front ends only carry bytes to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest_gateway.credentials import Sender
from ingest_gateway.errors import TEXT_CHARS_MAX, Busy, Refused, text
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.publisher import Publisher, TooLarge
from ingest_gateway.routing import RoutedCounts
from schemas import otlp
from schemas.errors import OtlpError, RetryableError
from schemas.otlp import Context, Message, Rejection, Routed, Signal

logger = logging.getLogger(__name__)

DECODED_BYTES = 4 << 20
"""What a round decodes at most, but for its last request: bounds its memory and how long it keeps the loop busy."""


@dataclass(frozen=True, slots=True)
class Request:
    """One OTLP request. content_type: otlp.PROTOBUF or otlp.JSON.  body: inflated.  sender: from the key."""

    signal: Signal
    content_type: str
    body: bytes
    sender: Sender


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: taken (but for so many rejected records, with a message), or an error.

    Do not raise `error`: it would know the frame that knows this outcome, and the body would stay in memory until the
    collector of cycles comes by.
    """

    rejected: int = 0
    message: str = ""
    error: Exception | None = None

    def body(self, signal: Signal, content_type: str) -> bytes:
        """The OTLP answer to a request that was taken."""
        if not self.rejected and not self.message:
            return _TAKEN[signal, content_type]
        return otlp.response(signal, content_type, self.rejected, self.message)


_SIGNALS: tuple[Signal, ...] = ("logs", "metrics", "traces")
_TAKEN = {(signal, kind): otlp.response(signal, kind) for signal in _SIGNALS for kind in (otlp.PROTOBUF, otlp.JSON)}


@dataclass(frozen=True, slots=True)
class _Work:
    """A decoded request. bytes: of its messages, which may be many times its body's (each record has the resource)."""

    request: Request
    messages: list[Message]
    bytes: int
    records: int
    outcome: Outcome
    routed: Sequence[Routed] = ()


class Handler:
    """Decodes, publishes, and answers after Kafka's acknowledgement.

    Args:    context: of a sender and a received time in µs; a RetryableError where its policy is not known.  routed:
             counts what routing rules took.
    """

    def __init__(
        self,
        publisher: Publisher,
        context: Callable[[Sender, int], Context],
        metrics: GatewayMetrics,
        routed: RoutedCounts | None = None,
    ) -> None:
        self._publisher = publisher
        self._context = context
        self._metrics = metrics
        self._routed = routed or RoutedCounts(metrics)

    async def __call__(self, requests: Sequence[Request]) -> list[Outcome]:
        """The outcomes of the first requests, as many as make DECODED_BYTES; at least one."""
        received_us = time.time_ns() // 1000
        works: list[_Work] = []
        size = 0
        for request in requests:
            work = self._decode(request, received_us)
            works.append(work)
            size += work.bytes
            if size >= DECODED_BYTES:
                break
        began = time.monotonic()
        errors = await self._publisher.publish([work.messages for work in works])
        self._metrics.acknowledged(time.monotonic() - began)
        outcomes = []
        for work, error in zip(works, errors, strict=True):
            if isinstance(error, TooLarge):
                outcomes.append(await self._reject_whole(work.request, received_us, error))
            elif error is not None:
                outcomes.append(Outcome(error=error))
            else:
                self._metrics.stored(work.request.signal, work.records)
                self._routed.add(work.routed)
                outcomes.append(work.outcome)
        return outcomes

    def _decode(self, request: Request, received_us: int) -> _Work:
        try:
            context = self._context(request.sender, received_us)
        except RetryableError as error:  # without its policy nothing of a tenant is stored
            return _Work(request, [], 0, 0, Outcome(error=error.with_traceback(None)))
        try:
            decoded = otlp.transcode(request.signal, request.content_type, request.body, context)
        except OtlpError as error:
            return self._refuse(request, context, error.reason, str(error))
        except Exception as error:  # a fault of ours; the requests beside it are others', and what was sent is kept
            logger.exception("a request of tenant %s could not be decoded", request.sender.tenant)
            return self._refuse(request, context, "internal_error", f"cannot be decoded: {type(error).__name__}")
        messages = [message for entry in decoded.entries for message in entry.messages]
        if decoded.masked:
            self._metrics.masked(decoded.masked)
        outcome = Outcome()
        if decoded.rejections:
            for rejection in decoded.rejections:
                self._metrics.rejected(request.signal, rejection.reason)
                messages.append(otlp.rejected_message(rejection, context, "gateway"))
            first = decoded.rejections[0]
            words = f"{len(decoded.rejections)} rejected; the first: {first.reason}: {first.error}"
            outcome = Outcome(len(decoded.rejections), words[:TEXT_CHARS_MAX])
        size = sum([len(message.value) for message in messages])
        routed = [one for entry in decoded.entries for one in entry.routed] if context.routing is not None else ()
        return _Work(request, messages, size, len(decoded.entries), outcome, routed)

    def _refuse(self, request: Request, context: Context, reason: str, words: str) -> _Work:
        self._metrics.rejected(request.signal, reason)
        kept = self._whole(request, context, reason, words)
        return _Work(request, [kept], len(kept.value), 0, Outcome(error=Refused(words, reason=reason)))

    async def _reject_whole(self, request: Request, received_us: int, error: BaseException) -> Outcome:
        """A request with a record that Kafka itself calls too large. Re-sending it would fail for ever."""
        try:
            context = self._context(request.sender, received_us)
        except RetryableError as without:
            return Outcome(error=without.with_traceback(None))
        kept = self._whole(request, context, "too_large", str(error))
        await self._publisher.connected()  # Kafka's refusal has cost the producer
        (failure,) = await self._publisher.publish([[kept]])
        if failure is not None:
            return Outcome(error=Busy(text(failure)))
        self._metrics.rejected(request.signal, "too_large")
        return Outcome(error=Refused(str(error), reason="too_large"))

    @staticmethod
    def _whole(request: Request, context: Context, reason: str, error: str) -> Message:
        rejection = Rejection(reason, error, request.body, request.signal, request.content_type)
        return otlp.rejected_message(rejection, context, "gateway")
