"""Every event of the catalogue says what was done, of what kind, and with what outcome."""

from typing import Any

import pytest

from schemas.catalogue import catalogue
from schemas.mapping import actions
from tests.schemas.otlp.requests import event

CATALOGUE = catalogue()
# The allowed values of event.category in ECS 9.4, as the package @elastic/ecs 9.4.0 has them.
CATEGORY_WORDS = """
    api authentication configuration database driver email file host iam intrusion_detection library malware network
    package process registry session threat vulnerability web
"""
CATEGORIES = frozenset(CATEGORY_WORDS.split())


def test_the_table_has_every_event_of_the_catalogue_and_no_other() -> None:
    names = [*CATALOGUE.items["events"], *CATALOGUE.known_by_name["events"]]
    known = {name.removeprefix("claude_code.") for name in names}
    assert set(actions.EVENTS) == known


@pytest.mark.parametrize("name", actions.EVENTS)
def test_an_action_is_at_least_as_fine_as_the_events_name(name: str) -> None:
    found = actions.EVENTS[name]
    for case in (found.usual, *found.cases.values()):
        assert case.category in CATEGORIES
    done = actions.done(name, {})
    assert (done.action, done.category) == (name, found.usual.category)
    finer = {action for action in actions.ACTIONS if action.startswith(f"{name}.")}
    assert finer == {f"{name}.{case.word}" for case in found.cases.values()}


@pytest.mark.parametrize(
    ("name", "values", "done"),
    [
        ("tool_result", {"tool_name": "Bash", "success": True}, ("tool_result.command", "process", "success")),
        ("tool_result", {"tool_name": "Bash", "success": False}, ("tool_result.command", "process", "failure")),
        ("tool_result", {"tool_name": "Edit"}, ("tool_result.file_write", "file", "unknown")),
        ("tool_result", {"tool_name": "WebFetch", "success": True}, ("tool_result.web_fetch", "web", "success")),
        ("tool_result", {"tool_name": "mcp_tool", "success": True}, ("tool_result.mcp", "api", "success")),
        ("tool_result", {"tool_name": "mcp__git__log", "success": True}, ("tool_result.mcp", "api", "success")),
        ("tool_result", {"tool_name": "NewTool", "success": True}, ("tool_result", "process", "success")),
        ("tool_decision", {"decision": "reject"}, ("tool_decision.reject", "iam", "failure")),
        ("tool_decision", {"decision": "accept"}, ("tool_decision.accept", "iam", "success")),
        ("tool_decision", {"decision": "later"}, ("tool_decision", "iam", "unknown")),
        ("auth", {"action": "login", "success": True}, ("auth.login", "authentication", "success")),
        ("auth", {"action": "logout", "success": True}, ("auth.logout", "authentication", "success")),
        ("mcp_server_connection", {"status": "failed"}, ("mcp_server_connection.failed", "network", "failure")),
        (
            "permission_mode_changed",
            {"to_mode": "bypassPermissions"},
            ("permission_mode_changed.bypass", "configuration", "success"),
        ),
        ("hook_execution_complete", {"num_hooks": 2}, ("hook_execution_complete", "process", "success")),
        (
            "hook_execution_complete",
            {"num_hooks": 2, "num_blocking": 1},
            ("hook_execution_complete.blocked", "process", "failure"),
        ),
        ("retention_sweep", {"error_count": 0}, ("retention_sweep", "file", "success")),
        ("managed_settings_resolved", {"error_type": "x"}, ("managed_settings_resolved", "configuration", "failure")),
        ("api_error", {}, ("api_error", "api", "failure")),
        ("user_prompt", {"command_name": "compact"}, ("user_prompt.command", "session", None)),
        ("something_new", {"success": True}, ("something_new", None, None)),
    ],
)
def test_what_was_done_is_read_from_a_few_fields(
    name: str, values: dict[str, Any], done: tuple[str, str | None, str | None]
) -> None:
    assert actions.done(name, values) == done


def test_the_event_carries_what_was_done() -> None:
    found = event({"event.name": "claude_code.tool_decision", "decision": "reject", "source": "user_reject"})
    done = (found["event_action"], found["event_category"], found["event_outcome"])
    assert done == ("tool_decision.reject", "iam", "failure")
