"""The timeline of a session: what belongs together, in which order, and to scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from console import timeline
from console.timeline import Agent, Entry, Item
from console.wording import KINDS, words

T = 1_790_000_000_000_000


def row(number: int, name: str = "api_request", **fields: Any) -> dict[str, Any]:
    """The number-th event of a session, one a second, as the store gives it."""
    took_us = 1000 * int(fields.get("duration_ms") or 0)
    ended = T + number * 1_000_000
    return {
        "event_id": f"e{number}", "event_name": name, "event_sequence": number, "missing": 0, "restarted": False,
        "started_us": ended - took_us, "ended_us": ended, **fields,
    }  # fmt: skip


def span(id_: str, name: str = "claude_code.llm_request", parent: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"trace_id": "t", "span_id": id_, "parent_span_id": parent, "name": name, **fields}


def tree(items: Sequence[Item]) -> list[Any]:
    """Ids, with what is inside of a call or an agent as lists: [id, [agent, …]] or [agent, …]."""
    out: list[Any] = []
    for one in items:
        if isinstance(one, Agent):
            out.append([one.name, *tree(one.items)])
        else:
            out.append(one.id if not one.inside else [one.id, *tree(one.inside)])
    return out


def turn(started: int, ended: int) -> timeline.Turn:
    return timeline.Turn("p", 1, started, ended, 1, {}, None, 0)


def test_events_stay_in_the_order_of_the_session() -> None:
    rows = [row(0, "user_prompt"), row(1), row(2, "assistant_response"), row(3, "hook_execution_complete")]
    assert tree(timeline.items(rows)) == ["e0", "e1", "e2", "e3"]


def test_a_tool_call_is_one_with_its_decision_and_says_who_decided() -> None:
    rows = [
        row(0, "tool_decision", tool_use_id="u1", tool_name="Bash", decision="accept", source="config"),
        row(1),
        row(2, "tool_result", tool_use_id="u1", tool_name="Bash", success=True, duration_ms=551),
    ]
    call, request = timeline.items(rows)
    assert isinstance(call, Entry)
    assert call.decision is not None
    assert (call.id, call.decision["event_id"], tree([request])) == ("e2", "e0", ["e1"])
    assert call.words.facts[0] == "accepted by config"


def test_a_decision_without_a_result_stands_for_itself() -> None:
    rows = [row(0, "tool_decision", tool_use_id="u1", tool_name="Bash", decision="reject", source="user_reject")]
    (entry,) = timeline.items(rows)
    assert isinstance(entry, Entry)
    assert (entry.words.title, entry.words.facts, entry.words.tone) == ("Bash", ("rejected by user_reject",), "warn")


def test_one_id_for_several_calls_loses_none_of_them() -> None:
    rows = [row(n, name, tool_use_id="u") for n, name in enumerate(["tool_decision", "tool_result"] * 3)]
    found = list(timeline.entries(timeline.items(rows)))
    shown = [one.id for one in found] + [one.decision["event_id"] for one in found if one.decision]
    assert sorted(shown) == [f"e{n}" for n in range(6)]


def test_older_clients_without_ids_of_tools_and_requests_are_a_plain_list() -> None:
    rows = [row(0, "user_prompt"), row(1, "tool_decision"), row(2, "tool_result"), row(3, "tool_result"), row(4)]
    assert tree(timeline.items(rows)) == ["e0", "e1", "e2", "e3", "e4"]


def test_a_gap_and_a_new_process_are_marked_where_they_are_also_before_a_decision() -> None:
    rows = [
        row(0),
        row(1, "tool_decision", tool_use_id="u", missing=2),
        row(2, "tool_result", tool_use_id="u", missing=1),
        row(3, restarted=True),
    ]
    assert [(one.missing, one.restarted) for one in timeline.entries(timeline.items(rows))] == [
        (0, False),
        (3, False),
        (0, True),
    ]


def test_what_came_again_is_marked_with_how_often_it_came_also_a_decision() -> None:
    rows = [
        row(0, resends=1),
        row(1, "tool_decision", tool_use_id="u", resends=2),
        row(2, "tool_result", tool_use_id="u", resends=None),
        row(3, "tool_decision", tool_use_id="v", resends=1),
        row(4, "tool_result", tool_use_id="v", resends=3),
        row(5, resends=None),
        row(6, resends=0),
        row(7),
    ]
    assert [one.again for one in timeline.entries(timeline.items(rows))] == [
        (("", 2),),
        (("its decision ", 3),),
        (("", 4), ("its decision ", 2)),
        (),
        (),
        (),
    ]


def test_a_subagent_is_nested_below_the_call_whose_span_is_above_it() -> None:
    rows = [
        row(0, "user_prompt"),
        row(1, request_id="main"),
        row(2, request_id="sub"),
        row(3, "assistant_response", request_id="sub"),
        row(4, "tool_result", tool_use_id="inner", tool_name="Read"),
        row(5, "tool_result", tool_use_id="task", tool_name="Task", duration_ms=4000),
    ]
    spans = [
        span("i", "claude_code.interaction"),
        span("m", parent="i", request_id="main"),
        span("k", "claude_code.tool", "i", tool_use_id="task", tool_name="Task", subagent_type="Explore"),
        span("s", parent="k", request_id="sub"),
        span("r", "claude_code.tool", "k", tool_use_id="inner", tool_name="Read"),
    ]
    assert tree(timeline.items(rows, spans)) == ["e0", "e1", ["e5", ["Explore", "e2", "e3", "e4"]]]


def test_a_subagent_of_a_subagent_is_nested_twice() -> None:
    rows = [row(0, request_id="a"), row(1, request_id="b"), row(2, request_id="main"), row(3, request_id="a2")]
    spans = [
        span("1", request_id="a", agent_id="A"),
        span("2", request_id="b", agent_id="B", parent_agent_id="A"),
        span("3", request_id="a2", agent_id="A"),
    ]
    assert tree(timeline.items(rows, spans)) == [["subagent", "e0", ["subagent", "e1"], "e3"], "e2"]


def test_attributes_of_the_event_tell_without_any_span() -> None:
    rows = [row(0, agent_id="A", agent_name="Plan"), row(1), row(2, agent_id="B", parent_agent_id="A")]
    assert tree(timeline.items(rows)) == [["Plan", "e0", ["subagent", "e2"]], "e1"]


def test_the_name_of_an_agent_alone_groups_its_requests_and_its_end() -> None:
    rows = [row(0), row(1, agent_name="Explore"), row(2), row(3, "subagent_completed", agent_type="Explore")]
    assert tree(timeline.items(rows)) == ["e0", ["Explore", "e1", "e3"], "e2"]


def test_agents_that_are_each_others_parents_are_shown_once() -> None:
    rows = [row(0, agent_id="A", parent_agent_id="B"), row(1, agent_id="B", parent_agent_id="A")]
    assert sorted(one.id for one in timeline.entries(timeline.items(rows))) == ["e0", "e1"]


def test_spans_that_are_each_others_parents_end() -> None:
    spans = [span("1", parent="2", request_id="a"), span("2", parent="1")]
    assert tree(timeline.items([row(0, request_id="a")], spans)) == ["e0"]


def test_what_an_agent_used_is_added_up() -> None:
    used = {"agent_name": "Plan", "cost_usd": 0.25, "input_tokens": 10}
    rows = [row(n, output_tokens=n, **used) for n in range(3)]
    rows.append(row(3, "api_refusal", output_tokens=3, **used))  # tells of a request that has its own event
    (agent,) = timeline.items(rows)
    assert isinstance(agent, Agent)
    assert (agent.total("cost_usd"), agent.total("input_tokens", "output_tokens")) == (0.75, 33.0)


_EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "event_name": st.sampled_from(["tool_decision", "tool_result", "api_request", "user_prompt", "unknown"]),
            "tool_use_id": st.sampled_from([None, "1", "2"]),
            "request_id": st.sampled_from([None, "1", "2"]),
            "agent_id": st.sampled_from([None, "A", "B", "C"]),
            "parent_agent_id": st.sampled_from([None, "A", "B", "C"]),
        }
    ),
    max_size=12,
)
_SPANS = st.lists(
    st.fixed_dictionaries(
        {
            "trace_id": st.just("t"),
            "name": st.sampled_from(["claude_code.tool", "claude_code.llm_request"]),
            "span_id": st.sampled_from("abc"),
            "parent_span_id": st.sampled_from([None, "a", "b", "c"]),
            "tool_use_id": st.sampled_from([None, "1", "2"]),
            "request_id": st.sampled_from([None, "1", "2"]),
            "agent_id": st.sampled_from([None, "A", "B"]),
            "parent_agent_id": st.sampled_from([None, "A", "B"]),
            "subagent_type": st.sampled_from([None, "Plan"]),
        }
    ),
    max_size=6,
)


@given(_EVENTS, _SPANS)
def test_every_event_is_shown_exactly_once_whatever_ids_and_spans_say(
    events: list[dict[str, Any]], spans: list[dict[str, Any]]
) -> None:
    rows = [row(number) | fields for number, fields in enumerate(events)]
    found = list(timeline.entries(timeline.items(rows, spans)))
    shown = [one.id for one in found] + [one.decision["event_id"] for one in found if one.decision]
    assert sorted(shown) == sorted(one["event_id"] for one in rows)


def test_bars_are_to_scale_and_never_leave_their_turn() -> None:
    of = turn(T, T + 10_000_000)
    assert timeline.bar(T, T + 10_000_000, of) == (0.0, 1000.0)
    assert timeline.bar(T + 5_000_000, T + 7_500_000, of) == (500.0, 250.0)
    assert timeline.bar(T + 10_000_000, T + 10_000_000, of) == (996.0, 4.0)
    assert timeline.bar(T - 9_000_000, T + 1_000_000, of) == (0.0, 100.0)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12), st.integers(0, 10**10))
def test_a_bar_fits_for_any_times(start: int, took: int, length: int) -> None:
    x, width = timeline.bar(T + start, T + start + took, turn(T, T + length))
    assert x >= 0
    assert width >= 4.0
    assert x + width <= timeline.SCALE + 0.11


def test_every_kind_of_event_has_words_though_nothing_else_is_known() -> None:
    for name in [*KINDS, "something_new"]:
        said = words({"event_name": name})
        assert said.title
        assert said.kind
    assert words({"event_name": "something_new"}).title == "something new"


def test_a_text_that_is_too_long_for_a_line_is_cut() -> None:
    said = words({"event_name": "tool_result", "tool_name": "Bash", "command_line": "x" * 5000, "success": True})
    assert max(len(fact) for fact in said.facts) == 300


def test_what_the_client_held_back_is_not_offered_for_reading() -> None:
    assert words({"event_name": "user_prompt", "prompt_length": 40}).held == (("prompt", "40 characters"),)
    held = words({"event_name": "user_prompt", "prompt_length": 40, "held_back": ["prompt"]}).held
    assert held == (("prompt", "held back by the client"),)


def test_what_the_client_held_back_of_an_event_may_be_with_its_span() -> None:
    call = {"event_id": "e", "event_name": "tool_result", "tool_use_id": "u", "held_back": ["tool_input"]}
    rows = [call | {"tool_input_size_bytes": 9, "tool_result_size_bytes": 8}]
    held = (("tool input", "9 bytes"), ("tool output", "8 bytes"))
    spans = [span("a", has_tool_input=True, tool_use_id="u"), span("b", has_tool_output=True, tool_use_id="u")]
    others = [span("c", has_other_texts=True, tool_use_id="of another"), span("d", has_other_texts=True)]
    assert [one.words.held for one in timeline.entries(timeline.items(rows, [*spans, *others]))] == [held]
    assert [one.words.held for one in timeline.entries(timeline.items(rows, others))] == [
        (("tool input", "held back by the client"),)
    ]


def test_a_decision_has_its_own_texts_and_its_call_has_those_of_their_spans() -> None:
    rows = [
        row(0, "tool_decision", tool_use_id="u", other_texts=True),
        row(1, "tool_result", tool_use_id="u", tool_input_size_bytes=9, other_texts=False),
        row(2, "tool_result", tool_input_size_bytes=8),
    ]
    spans = [span("a", tool_use_id="u", has_tool_output=True)]
    assert [(one.words.held, one.held_by_decision) for one in timeline.entries(timeline.items(rows, spans))] == [
        (
            (("tool input", "9 bytes"), ("tool output", "length not said")),
            (("tool input", "length not said"), ("other texts", "length not said")),
        ),
        ((("tool input", "8 bytes"),), ()),
    ]
