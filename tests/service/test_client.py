"""What a client is told to send: the same variables whatever carries them, and nothing that nobody chose."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess

import pytest

from schemas.roles import DEFAULTS
from schemas.topics import CATALOGUE
from service import client
from service.client import CLIENTS, FILES, GATES, PROTOCOLS

KEY = "mlr_ingest_0123456789abcdef_" + "0" * 64
HOSTILE = "a b,c=d\"e'f$HOME`id`\\é;%"


def environment(*gates: str, **resource: str) -> dict[str, str]:
    return client.environment(
        protocol="http/protobuf", endpoint="http://gateway:4318", key=KEY, gates=gates, resource=resource
    )


def test_without_a_gate_no_content_is_asked_for() -> None:
    assert environment() == {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://gateway:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {KEY}",
    }


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_opens_itself_and_what_it_needs_and_nothing_else(gate: str) -> None:
    opened = {name: value for name, value in environment(gate).items() if name not in environment()}
    needs = GATES[gate].needs
    expected = {**GATES[gate].variables, **({} if needs is None else GATES[needs].variables)}
    if gate == "prompts":  # left unset, newer clients send answers as soon as prompts are sent
        expected["OTEL_LOG_ASSISTANT_RESPONSES"] = "0"
    assert opened == expected


def test_prompts_with_answers_is_a_choice_of_its_own() -> None:
    assert environment("prompts", "responses")["OTEL_LOG_ASSISTANT_RESPONSES"] == "1"


def test_every_gate_says_how_long_it_is_kept_as_the_topics_do() -> None:
    days = {name: int(CATALOGUE[name].config["retention.ms"]) // 86_400_000 for name in ("events", "content", "spans")}
    for gate in GATES.values():
        said = {int(found) for found in re.findall(r"(\d+) days", gate.stored)}
        assert said
        assert said <= set(days.values())
    assert f"{days['content']} days" in GATES["prompts"].stored


def test_a_gate_names_the_roles_that_read_details() -> None:
    readers = [name for name, role in DEFAULTS.items() if any(g.cls == "detail" and not g.names for g in role.grants)]
    assert readers == ["analyst", "security", "admin"]
    assert "roles analyst, security and admin" in GATES["details"].stored


def test_whatever_a_team_is_called_it_stays_one_value() -> None:
    said = environment("prompts", **{client.TEAM: HOSTILE, client.COST_CENTER: "4711"})["OTEL_RESOURCE_ATTRIBUTES"]
    assert said == "team.id=a%20b%2Cc%3Dd%22e%27f%24HOME%60id%60%5C%C3%A9%3B%25,cost_center=4711"


def test_a_shell_that_takes_the_block_has_the_variables() -> None:
    variables = environment("details", **{client.TEAM: HOSTILE}) | {"HOSTILE": HOSTILE}
    script = client.shell(variables) + "env -0\n"
    out = subprocess.run(
        ["sh"], input=script, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    found = dict(line.split("=", 1) for line in out.stdout.split("\0") if line)
    assert {name: found.get(name) for name in variables} == variables


def test_powershell_takes_every_value_literally() -> None:
    assert client.powershell({"A": "it's $x"}) == "$env:A = 'it''s $x'\n"


def test_every_file_carries_the_same_variables() -> None:
    variables = environment("prompts", **{client.TEAM: HOSTILE}) | {"HOSTILE": HOSTILE}
    managed = json.loads(FILES["managed"].content(variables))
    assert managed == {"env": variables}
    assert plistlib.loads(FILES["plist"].content(variables)) == managed
    profile = plistlib.loads(FILES["mobileconfig"].content(variables))
    (payload,) = profile["PayloadContent"]
    assert (profile["PayloadType"], payload["PayloadType"]) == ("Configuration", "com.anthropic.claudecode")
    assert payload["env"] == variables
    assert profile["PayloadUUID"] != payload["PayloadUUID"]
    text = FILES["registry"].content(variables).decode("utf-16")
    assert text.startswith("Windows Registry Editor Version 5.00\r\n\r\n")
    assert "\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\ClaudeCode]\r\n" in text
    value = re.search(r'^"Settings"="(.*)"\r$', text, re.MULTILINE)
    assert value is not None
    assert json.loads(re.sub(r"\\(.)", r"\1", value[1])) == managed


def test_a_profile_with_another_key_replaces_the_one_before() -> None:
    one = plistlib.loads(client.mobileconfig(environment()))
    other = plistlib.loads(
        client.mobileconfig(environment() | {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer x"})
    )
    elsewhere = plistlib.loads(client.mobileconfig(environment() | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other"}))
    names = [(p["PayloadIdentifier"], p["PayloadUUID"]) for p in (one, other, elsewhere)]
    assert names[0] == names[1]
    assert names[0] != names[2]


def test_every_client_speaks_some_protocol() -> None:
    assert all(set(one.protocols) <= set(PROTOCOLS) and one.protocols for one in CLIENTS.values())
