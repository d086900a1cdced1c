"""The topics of the bench hold what their definition says."""

from __future__ import annotations

from schemas import codec, topics
from tests.bench.streams import loads
from tests.bench.streams.loads import Load


def test_every_message_of_a_load_is_a_whole_event_of_its_session_and_ends_with_its_name() -> None:
    load = Load(3000, 50, 10)
    seen: dict[str, int] = {}
    ids = set()
    for (key, value), event in zip(loads.messages(load), loads.events(load), strict=True):
        read = codec.decode("claude_event", value)
        session = read["session_id"]
        assert (key, session) == (topics.make_key("bench", session), loads.session_id(event.session))
        assert read["event_sequence"] == event.sequence == seen.get(session, 0)
        assert (read["event_time"], read["received_time"]) == (event.time, event.time + 1_000_000)
        assert (loads.KINDS[event.template.kind], value[loads.NAME]) == (read["event_name"], event.name)
        assert event.template.sums == tuple(read[name] or 0 for name in loads.SUMS)
        seen[session] = event.sequence + 1
        ids.add(read["event_id"][:18])
    assert sum(seen.values()) == len(ids) == 3000


def test_without_bursts_every_session_comes_once_before_any_comes_again() -> None:
    order = [event.session for event in loads.events(Load(300, 200, 1))]
    assert sorted(order[:200]) == list(range(200))
    assert len(order) == 300
