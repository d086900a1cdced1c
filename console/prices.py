"""What a token costs, found in the requests themselves: nobody tells us a price list."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

# What a token of the prompt cache costs beside a plain input token, as the API's price list has it for every model; a
# write is one that is kept for five minutes (one kept for an hour costs 2).
CACHE_READ, CACHE_WRITE = 0.1, 1.25
# A price is only believed if with it the requests cost what they say they cost, so far.
ERROR_MAX = 0.02
_REQUESTS_MIN = 5
# Below it the requests are all of one mixture of tokens, and the two prices cannot be told apart.
_INDEPENDENT_MIN = 1e-6


@dataclass(frozen=True)
class Sums:
    """Over requests of one price, with x: input tokens and those of the cache by their weight, y: output tokens,
    c: their cost in USD.  requests: how many; the others are sums of products.
    """

    requests: int
    xx: float
    xy: float
    yy: float
    xc: float
    yc: float
    cc: float


@dataclass(frozen=True)
class Prices:
    """USD a token.  error: what is not explained by them, as a share of the cost (root mean square)."""

    input_usd: float
    output_usd: float
    error: float


def derived(sums: Sums) -> Prices | None:
    """The two prices with which the requests cost what they cost, by least squares; None: there are none such.

    None is the answer, too, where the weights above do not hold: then no prices explain the cost.
    """
    independent = sums.xx * sums.yy - sums.xy**2
    if sums.requests < _REQUESTS_MIN or sums.cc <= 0 or independent <= _INDEPENDENT_MIN * sums.xx * sums.yy:
        return None
    input_usd = (sums.xc * sums.yy - sums.yc * sums.xy) / independent
    output_usd = (sums.yc * sums.xx - sums.xc * sums.xy) / independent
    unexplained = sums.cc - input_usd * sums.xc - output_usd * sums.yc
    error = sqrt(max(0.0, unexplained) / sums.cc)
    if input_usd <= 0 or output_usd < 0 or error > ERROR_MAX:
        return None
    return Prices(input_usd, output_usd, error)
