"""Coercion and canonical forms of attribute values."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.otlp import values

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (56, 56),
        ("56", 56),
        ("-56", -56),
        ("+56", 56),
        ("007", 7),
        (56.0, 56),
        ("56.0", 56),
        ("5.6e1", 56),
        (2**63 - 1, 2**63 - 1),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
        *[
            (bad, None)
            for bad in (
                56.5, "56.5", True, False, None, "", "undefined", "abc", " 56", "5_6", "0x38", "٥٦", "²", "1e400",
                "nan", NAN, INF, -INF, 2.0**63, str(2**63), str(-(2**63) - 1), "9" * 400, [1], {"a": 1}, b"56",
                "--5", "1e",
            )
        ],
    ],
)  # fmt: skip
def test_longs(value: Any, expected: int | None) -> None:
    found = values.as_long(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("value", "expected"), [(9, 9), ("9", 9), (2**31, None), (-(2**31) - 1, None)])
def test_ints(value: Any, expected: int | None) -> None:
    assert values.as_int(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5),
        ("0.5", 0.5),
        ("5", 5.0),
        (5, 5.0),
        ("1e-7", 1e-7),
        *[(bad, None) for bad in (True, None, "", "abc", "nan", "inf", "Infinity", NAN, INF, "1e999", "1_0.5", [0.5])],
    ],
)
def test_doubles(value: Any, expected: float | None) -> None:
    found = values.as_double(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("false", False),
        ("TRUE", True),
        ("False", False),
        (1, True),
        (0, False),
        ("1", True),
        ("0", False),
        (1.0, True),
        *[(bad, None) for bad in (2, -1, 0.5, "yes", "", "undefined", None, [True], b"1")],
    ],
)
def test_booleans(value: Any, expected: bool | None) -> None:
    assert values.as_boolean(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        ("", ""),
        (56, "56"),
        (56.0, "56"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (NAN, "NaN"),
        (-INF, "-Infinity"),
        (True, "true"),
        ([1, "a", None], '[1,"a",null]'),
        ({"b": 1.0, "a": b"\xff"}, '{"a":{"bytesValue":"/w=="},"b":1.0}'),
        (b"\xff", None),
        (None, None),
    ],
)
def test_strings(value: Any, expected: str | None) -> None:
    assert values.as_string(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-20T12:42:10.595Z", 1_795_178_530_595_000),
        ("2026-11-20T13:42:10.595+01:00", 1_795_178_530_595_000),
        ("2026-11-20T12:42:10.595000001Z", 1_795_178_530_595_000),
        ("2026-11-20T12:42:10.595", 1_795_178_530_595_000),
        ("1969-12-31T23:59:59Z", -1_000_000),
        *[
            (bad, None)
            for bad in (
                "",
                "now",
                "20261120",
                5,
                None,
                "2026-13-01T00:00:00Z",
                "0001-01-01T00:00:00+14:00x",
                "0001-01-01T00:00:00+14:00",
            )
        ],
    ],
)
def test_timestamps(value: Any, expected: int | None) -> None:
    assert values.as_timestamp(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", 1, True], ["a", "1", "true"]),
        ("/home/a", ["/home/a"]),
        ('["/a","/b"]', ["/a", "/b"]),
        ("[not json", ["[not json"]),
        ("[" * 900 + "]" * 900, ["[" * 900 + "]" * 900]),
        (5, ["5"]),
        (True, ["true"]),
        (b"a", None),
        (None, None),
    ],
)
def test_arrays(value: Any, expected: list[str] | None) -> None:
    assert values.as_strings(value) == expected


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary()
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(ANY)
def test_canonical_json_is_json_and_says_the_same_again(value: Any) -> None:
    first = values.canonical(value)
    assert values.canonical(value) == first
    json.loads(first)


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.integers(0, 9), min_size=2), st.randoms())
def test_canonical_json_does_not_depend_on_order(value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert values.canonical(dict(items)) == values.canonical(value)
    assert values.canonical_attributes(dict(items)) == values.canonical_attributes(value)


def test_canonical_json_tells_types_apart() -> None:
    kinds = [1, 1.0, "1", True, b"1", [1], {"1": 1}, None, NAN, INF]
    assert len({values.canonical(kind) for kind in kinds}) == len(kinds)


def test_canonical_json_keeps_64_bits() -> None:
    assert values.canonical(2**63 - 1) == "9223372036854775807"


def test_identities_do_not_depend_on_the_types_that_routers_make() -> None:
    forms = [{"a": "56", "b": "true"}, {"a": 56, "b": True}, {"b": "true", "a": 56.0}]
    assert len({values.canonical_attributes(form) for form in forms}) == 1
