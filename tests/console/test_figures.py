"""What pages of figures are made of, without a store."""

from __future__ import annotations

from datetime import UTC, datetime

from console.errors import AskFault
from console.events import of_range, session_url
from console.figures import drilled, part
from console.filters import Filters, parse
from console.pages.reliability import lines, version_order
from console.sections import Section

NOW = datetime(2026, 9, 21, 14, 13, tzinfo=UTC)


def asked(**query: str) -> Filters:
    """The filters of a URL."""
    return parse(query, NOW)


def test_versions_are_sorted_as_people_count_them() -> None:
    versions = ["2.1.9", "2.1.100", "2.2.0-beta", "2.2.0", None, "10.0", "nightly"]
    expected = ["10.0", "2.2.0", "2.2.0-beta", "2.1.100", "2.1.9", "nightly", None]
    assert sorted(versions, key=version_order, reverse=True) == expected


def test_a_part_without_an_answer_shows_its_own_fault_and_no_other() -> None:
    fault = AskFault("too slow", reason="timeout", status=408)
    assert part("a", "A", [fault], lambda: Section("a", "A")) == Section("a", "A", fault=fault)
    assert part("a", "A", [], lambda: Section("a", "A", "text")) == Section("a", "A", "text")


def test_a_question_about_events_begins_with_the_time_range() -> None:
    assert of_range(asked(team="it's"), "e.success").startswith(
        "FROM events e WHERE e.received_time >= TIMESTAMPTZ '2026-09-20T14:50:00Z' AND "
    )
    assert of_range(asked(team="it's"), "e.success").endswith(" AND e.success AND e.team = 'it''s'")


def test_what_an_event_does_not_say_is_asked_of_its_session() -> None:
    assert "e.model = 'opus' OR (e.model IS NULL AND (e.tenant, e.session_id) IN" in of_range(asked(model="opus"))


def test_an_event_is_shown_in_its_session_whatever_their_ids_are() -> None:
    row = {"tenant": "o'hare/x", "session_id": "a?b#c", "event_id": "e&f"}
    assert session_url(row, asked()) == "/sessions/o%27hare%2Fx/a%3Fb%23c?event=e%26f"
    filters = asked(range="7d", team="a&b")
    assert session_url(row, filters) == "/sessions/o%27hare%2Fx/a%3Fb%23c?range=7d&team=a%26b&event=e%26f"
    assert session_url({**row, "session_id": None}, filters) is None


def test_a_bar_leads_to_its_own_time() -> None:
    filters = asked(team="core")
    chart = lines("Time", filters, [], ("p50",))
    links = drilled(chart, filters, "/reliability", "failures").links
    assert len(links) == 24
    assert links[-1] == ("/reliability?from=2026-09-21T14%3A00%3A00Z&to=2026-09-21T15%3A00%3A00Z&team=core#failures")


def test_where_nothing_was_measured_a_line_has_a_gap() -> None:
    chart = lines("Time", asked(), [("2026-09-21T14:00:00Z", {"p50": 5.0})], ("p50", "p95"))
    assert [list(one.values)[-2:] for one in chart.series] == [[None, 5.0], [None, None]]
