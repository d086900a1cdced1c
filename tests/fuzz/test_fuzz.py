"""Every find of the fuzzer stays found, and a short run of it finds nothing."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import TARGETS, fuzz
from tests.fuzz.case import CASES, Case, kept
from tests.fuzz.check import check
from tests.fuzz.seeds import seeds


@pytest.mark.parametrize("case", kept(), ids=lambda case: case.file_name)
def test_what_was_found_is_mended(case: Case) -> None:
    check(case)


def test_every_case_is_named_for_what_it_holds() -> None:
    assert {case.file_name for case in kept()} == {path.name for path in CASES.iterdir()}


def test_the_seeds_hold_every_signal_in_both_encodings_and_every_record_of_clients() -> None:
    found = {(case.target, case.what) for case in seeds()}
    assert found >= {(t, s) for t in ("json", "protobuf") for s in ("logs", "metrics", "traces")}
    assert found >= {("codec", name) for name in ("claude_event", "claude_content", "claude_span", "metric_point")}


def test_a_short_run_finds_nothing() -> None:
    done, finds = fuzz(Random(5), count=600)
    assert finds == []
    assert set(done) == set(TARGETS)


def test_a_find_is_kept_for_the_next_run(tmp_path: Path) -> None:
    case = Case("protobuf", "traces", b"\xff")
    assert case.keep(tmp_path).name == case.file_name
    assert kept(tmp_path) == [case]
