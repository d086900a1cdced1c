"""Kafka for tests: the jars that it starts from, and what makes its many starts short."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from millrace import aot, kafka


@cache
def jars() -> Path:
    """The folder of Kafka's jars, in the cache of this user or in MILLRACE_CACHE; fetches what is missing."""
    given = os.environ.get("MILLRACE_CACHE")
    directory = kafka.cached_jars(Path(given) if given else None)
    aot.make(directory)
    return directory
