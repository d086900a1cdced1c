"""Which kind of client a record is from."""

from typing import Any

import pytest

from schemas.otlp.client import client
from tests.schemas.otlp.requests import (
    TIME_NS,
    any_value,
    attributes,
    decoded,
    event,
    log,
    logs,
    metric,
    only,
    records_of,
    span,
)
from tests.schemas.otlp.requests import spans as spans_of

SCOPE = "com.anthropic.claude_code.events"


@pytest.mark.parametrize(
    ("service", "entrypoint", "expected"),
    [
        ("claude-code", "cli", "cli"),
        ("claude-code", "sdk-ts", "sdk"),
        ("claude-code", "sdk-py", "sdk"),
        ("claude-code", "sdk-cli", "sdk"),
        ("claude-code", "claude-vscode", "vscode"),
        ("claude-code", "claude-desktop", "desktop"),
        ("claude-code", "local-agent", "cowork"),
        ("claude-code", "brand-new", "brand-new"),
        ("claude-code", None, "code"),
        ("claude-code-desktop", None, "desktop"),
        ("claude-code-desktop", "cli", "desktop"),
        ("cowork", None, "cowork"),
        ("cowork", "cli", "cowork"),
        ("our-agents", "cli", "cli"),
        ("our-agents", None, "code"),
        (None, None, "code"),
    ],
)
def test_cowork_desktop_and_renamed_services_are_told_apart(
    service: str | None, entrypoint: str | None, expected: str
) -> None:
    resource = {"service.name": service} if service else {}
    values = {"event.name": "api_request", "app.entrypoint": entrypoint} if entrypoint else {"event.name": "x"}
    (entry,) = decoded("logs", logs(log(values), resource=resource, name=SCOPE)).entries
    row = records_of(entry)[0]
    assert (row["client"], row["service_name"], row["app_entrypoint"]) == (expected, service, entrypoint)


def test_a_program_that_is_no_claude_has_no_kind() -> None:
    assert client("checkout", None, "io.opentelemetry.http") is None
    assert client("checkout", None, "com.anthropic.claude_codec") is None
    assert event({"event.name": "x"}, resource={"service.name": "checkout"})["client"] is None


def test_a_renamed_service_without_scope_is_known_by_its_names() -> None:
    renamed: dict[str, Any] = {"service.name": "acme-agents"}
    for values, parts in (
        ({"event.name": "claude_code.user_prompt"}, {}),
        ({"event.name": "user_prompt"}, {"body": any_value("claude_code.user_prompt")}),
        ({}, {"eventName": "claude_code.user_prompt"}),
    ):
        assert event(values, resource=renamed, **parts)["client"] == "code"
    assert event({"event.name": "user_prompt"}, resource=renamed)["client"] is None
    for name, expected in (("claude_code.cost.usage", "code"), ("process.cpu.time", None)):
        document = metric(name, {"sum": {"dataPoints": [{"asDouble": 1.0}]}}, resource=renamed)
        document["resourceMetrics"][0]["scopeMetrics"][0].pop("scope")
        assert only("metrics", document)[0]["client"] == expected
    for name, expected in (("claude_code.tool", "code"), ("GET /", None)):
        document = spans_of(span({}, name), resource=renamed)
        document["resourceSpans"][0]["scopeSpans"][0].pop("scope")
        assert only("traces", document)[0]["client"] == expected


def test_a_record_of_another_kind_than_its_group_says_so() -> None:
    document = logs(log({}), log({"app.entrypoint": "cli"}), resource={"app.entrypoint": "claude-vscode"}, name=SCOPE)
    found = [records_of(entry)[0]["client"] for entry in decoded("logs", document).entries]
    assert found == ["vscode", "cli"]


@pytest.mark.parametrize(("service", "expected"), [("cowork", "cowork"), ("claude-code", "code"), ("renamed", "code")])
def test_points_and_spans_have_it_too(service: str, expected: str) -> None:
    resource: dict[str, Any] = {"service.name": service}
    point = {"timeUnixNano": str(TIME_NS), "asDouble": 1.0, "attributes": attributes({"type": "cli"})}
    data = {"sum": {"aggregationTemporality": 1, "dataPoints": [point]}}
    assert only("metrics", metric("claude_code.active_time.total", data, resource))[0]["client"] == expected
    assert only("traces", spans_of(span({}), resource=resource))[0]["client"] == expected
