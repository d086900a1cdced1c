"""`millrace schema` as a person runs it."""

from pathlib import Path

from click.testing import CliRunner

from millrace.cli import cli
from schemas import docs, records
from tests.schemas.otlp.requests import as_json, log, logs

CAPTURES = Path(__file__).parents[1] / "captures"
COLUMNS = ["records", "rejected", "typed", "left", "errors", "content"]


def schema(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    found = CliRunner().invoke(cli, ["schema", *map(str, arguments)])
    return found.exit_code, found.stdout, found.stderr


def test_coverage_ends_with_the_whole() -> None:
    code, out, _ = schema("coverage")
    assert code == 0
    assert "claude_code.tool_result" in out
    assert out.splitlines()[-1].endswith("attributes have a typed field: 100%")


def test_a_page_that_is_behind_is_named_with_its_cure(tmp_path: Path) -> None:
    page = tmp_path / "schema.md"
    assert schema("docs", "--check", page)[0] == 1
    assert schema("docs", "--write", page) == (0, "", "")
    assert page.read_text() == docs.page()
    assert schema("docs", "--check", page) == (0, "", "")
    page.write_text(page.read_text() + "more\n")
    code, out, error = schema("docs", "--check", page)
    assert (code, out) == (1, "")
    assert error.splitlines() == [
        f"millrace: {page} is not what the schemas say: run `millrace schema docs --write {page}`"
    ]


def test_a_record_is_shown_with_all_its_fields() -> None:
    out = schema("show", "metric_point")[1]
    assert {line.split(" ")[0] for line in out.splitlines()} >= {f.name for f in records.record("metric_point").fields}


def test_the_report_on_recorded_bodies_counts_and_names(tmp_path: Path) -> None:
    odd = tmp_path / "odd.jsonl"
    bodies = [logs(log({"novel": "?", "attempt": "?"})), logs({"flags": "many"})]
    odd.write_bytes(b"\n".join(map(as_json, bodies)))
    recorded = CAPTURES / "grpc-interactive" / "000-grpc-logs.pb"
    code, out, _ = schema("report", recorded, odd)
    assert code == 0
    rows = {
        line.split()[0]: dict(zip(COLUMNS, map(int, line.split()[1:7]), strict=True)) for line in out.splitlines()[2:5]
    }
    assert rows["odd.jsonl"] == {"records": 2, "rejected": 1, "typed": 0, "left": 2, "errors": 1, "content": 0}
    assert (rows["000-grpc-logs.pb"]["left"], rows["000-grpc-logs.pb"]["errors"]) == (0, 0)
    assert rows["000-grpc-logs.pb"]["typed"] > 10 * rows["000-grpc-logs.pb"]["records"]
    assert rows["all"]["records"] == rows["000-grpc-logs.pb"]["records"] + 2
    assert "left: novel (1)" in out
    assert "coercion error: attempt (1)" in out


def test_a_file_that_is_no_request_is_refused_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("[1]")
    code, _, error = schema("report", other)
    assert (code, len(error.splitlines())) == (1, 1)
    assert "no OTLP request" in error
    body = tmp_path / "body.bin"
    body.write_bytes(b"\xff\xff")
    assert "--signal" in schema("report", body)[2]
    assert "not an OTLP logs request" in schema("report", "--signal", "logs", body)[2]
