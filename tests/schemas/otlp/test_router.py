"""What a router re-emits of a real fleet, file by file. The files are others', and are not committed.

`pytest -s tests/schemas/otlp/test_router.py` prints the report.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace.cli import cli
from tests.schemas.otlp.requests import as_json, decoded, records_of
from tests.schemas.otlp.router import FILES, requests

pytestmark = pytest.mark.skipif(not FILES.exists(), reason="../shared/third_party is not beside this clone: not tested")

TRANSCRIPTS = {"36cP1M", "OsXDpa", "bCOM2K", "hO8QQb", "k0h8NP", "kkcx4D"}
RECORDS = {
    "CBxGTZ": 5, "DBvKLd": 17, "Io4OFW": 1, "QS0mDG": 1, "QtXzUr": 68, "aukWzL": 16, "bw3bbR": 1, "go9A8j": 5,
    "lCrlnQ": 8, "mSfzuP": 7, "nuJv6j": 3, "smpLil": 2, "viOToM": 6,
}  # fmt: skip


def telemetry() -> list[Path]:
    return [path for path in sorted(FILES.glob("*.json")) if requests(path)]


def test_six_of_the_files_are_transcripts_and_thirteen_telemetry() -> None:
    assert {path.stem for path in telemetry()} == set(RECORDS)
    assert {path.stem for path in FILES.glob("*.json")} - set(RECORDS) == TRANSCRIPTS


def test_all_of_it_is_read_typed_and_without_errors() -> None:
    counts = {"logs": 0, "metrics": 0}
    for path in telemetry():
        for signal, document in requests(path):
            found = decoded(signal, document)
            assert found.rejections == []
            for row in (records_of(entry)[0] for entry in found.entries):
                assert (row["coercion_errors"], row["pipeline_error"], row["renamed"]) == ([], None, [])
                assert (row["attributes"], row["attributes_json"]) == ({}, {})
                assert (row["session_id"], row["service_version"]) == ("session-0001", "2.1.45")
                assert (row["client"], row["app_entrypoint"]) == ("code", None)
            counts[signal] += len(found.entries)
    assert counts == {"logs": 23, "metrics": 117}


def test_the_report_says_what_becomes_of_each_file(tmp_path: Path) -> None:
    for path in telemetry():
        (tmp_path / path.name).write_bytes(b"\n".join(as_json(document) for _, document in requests(path)))
    done = CliRunner().invoke(cli, ["schema", "report", *map(str, sorted(tmp_path.glob("*.json")))])
    print(f"\n{done.output}")
    assert done.exit_code == 0
    heads = ("records", "rejected", "typed", "left", "errors", "content")
    table = {
        name: dict(zip(heads, map(int, rest), strict=True))
        for name, *rest in (line.split() for line in done.output.splitlines()[2:])
        if len(rest) == len(heads)
    }
    assert {name.removesuffix(".json"): row["records"] for name, row in table.items()} == {**RECORDS, "all": 140}
    assert all((row["rejected"], row["left"], row["errors"]) == (0, 0, 0) for row in table.values())
    assert all(row["typed"] > 5 * row["records"] for row in table.values())
