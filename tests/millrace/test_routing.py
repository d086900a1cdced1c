"""`millrace routing`: what rules would do with recorded requests, before they are applied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from millrace.kafka import Broker
from millrace.routing import in_force, put_in_force, routing
from schemas.routing import control_value, document, parse
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from service.control import publish

CAPTURES = Path(__file__).parents[1] / "captures"
RULES = [
    {"name": "hooks", "when": {"event": "hook_*"}, "route": "drop"},
    {"name": "costs", "when": {"signal": "metrics", "event": "cost.usage", "team": "platform"}, "route": "archive"},
    {"name": "no-bodies", "when": {"class": "content", "event": "tool_*"}, "route": "drop"},
]


def rules(folder: Path, written: Any = None) -> str:
    file = folder / "rules.json"
    file.write_text(json.dumps({"rules": RULES if written is None else written}))
    return str(file)


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(routing, ["test", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_every_record_of_the_captures_is_told_where_it_goes_and_why(tmp_path: Path) -> None:
    code, out, _ = run("--rules", rules(tmp_path), "--format", "json", str(CAPTURES))
    records = json.loads(out)
    assert code == 0
    assert {record["signal"] for record in records} == {"logs", "metrics"}
    for record in records:
        hook = record["event"].startswith("hook_")
        cost = record["event"] == "claude_code.cost.usage"
        want = ("drop", "hooks") if hook else ("archive", "costs") if cost else ("hot", None)
        assert (record["route"], record["rule"]) == want
        last = record["why"][-1]
        assert (last["rule"], last["takes"]) == (record["rule"] or "no-bodies", record["rule"] is not None) or (
            record["content_rule"] == "no-bodies" and last["takes"]
        )
        assert all(earlier["failed"] for earlier in record["why"][:-1])
    assert {"hooks", "costs", None} == {record["rule"] for record in records}


def test_people_read_what_held_and_what_failed(tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    say = lambda **values: [{"key": k, "value": {"stringValue": v}} for k, v in values.items()]  # noqa: E731
    records = [{"attributes": say(**{"event.name": name, "team.id": "web"})} for name in ("tool_x", "hook_y", "hook_y")]
    body.write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}))
    _, out, _ = run("--rules", rules(tmp_path), str(body))
    assert out == (
        f"{body}\n"
        "     1  logs  tool_x  team web  ->  hot, its content drop by no-bodies\n"
        "        hooks does not: event is tool_x, not 'hook_*'\n"
        "        costs does not: signal is logs, not 'metrics'\n"
        "        no-bodies takes the content: event tool_x\n"
        "     2  logs  hook_y  team web  ->  drop by hooks\n"
        "        hooks takes it: event hook_y\n"
        "     3  logs  hook_y  team web  ->  drop by hooks  (as 2)\n"
        "\n"
        "(no rule)  hot  1 logs\n"
        "hooks  drop  2 logs\n"
        "no-bodies  drop  1 content, where there is any\n"
    )


def test_a_record_that_would_be_rejected_is_told_apart(tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "no", "spanId": "id"}]}]}]}')
    _, out, _ = run("--rules", rules(tmp_path), str(body))
    assert f"rejected, whatever the rules say: {body}: " in out
    assert out.endswith("\nrejected  1\n")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ([{"name": "a", "route": "cold"}], "millrace: routing rule 'a': unknown route 'cold': hot, archive, drop"),
        (
            [{"name": "a", "when": {"user": "x"}, "route": "drop"}],
            "millrace: routing rule 'a': unknown condition 'user'",
        ),
    ],
)
def test_rules_at_fault_are_one_line_on_stderr(written: Any, words: str, tmp_path: Path) -> None:
    code, out, err = run("--rules", rules(tmp_path, written), str(CAPTURES))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(words)


def test_a_file_that_is_no_request_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "x.pb").write_bytes(b"")
    for name, words in (("x.json", "does not say its signal"), ("x.txt", "no recorded request"), ("x.pb", "--signal")):
        code, _, err = run("--rules", rules(tmp_path), str(tmp_path / name))
        assert code == 1
        assert words in err


def test_the_team_is_the_attribute_that_the_gateway_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_GATEWAY_TEAM_ATTRIBUTE", "org.unit")
    attributes = [{"key": name, "value": {"stringValue": name}} for name in ("event.name", "org.unit", "team.id")]
    record = {"timeUnixNano": "1790000000000000000", "attributes": attributes}
    file = tmp_path / "000-logs.json"
    file.write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))
    by_team = [{"name": "unit", "when": {"team": "org.unit"}, "route": "drop"}]
    code, out, err = run("--rules", rules(tmp_path, by_team), "--format", "json", str(file))
    assert (code, [one["rule"] for one in json.loads(out)]) == (0, ["unit"]), err


async def test_rules_that_cannot_be_read_are_replaced_by_new_ones(kafka: Broker, prefix: str) -> None:
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"], CATALOGUE["audit"]], prefix, "local")
    wanted = parse({"rules": RULES})
    damaged = {**control_value(wanted, updated_at=1, updated_by="test"), "body": "{"}
    await publish(kafka.kwargs, prefix, [damaged])
    done = await put_in_force(kafka.kwargs, prefix, wanted)
    assert done.version == 1
    assert document(await in_force(kafka.kwargs, prefix)) == document(done)
