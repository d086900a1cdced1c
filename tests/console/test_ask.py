"""Asking the SQL service: as whom, how often, and what a page says when there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from console.ask import Answer, Ask, _Kept
from console.errors import AskFault
from schemas.roles import DEFAULTS, Actor, Condition, Grant
from sinks.query.metrics import QueryMetrics
from sinks.query.runner import Limits
from sinks.query.service import Door
from tests.console.conftest import ENDLESS, GONE, Pages, console_over, pages_of
from tests.sinks.query import samples
from tests.sinks.query.conftest import KEYS, served, serving, unheard

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANALYST = Actor("ann", "person", "acme", ("analyst",))
BOB = Actor("bob", "person", "acme", ("analyst",))
COUNT = "select count(*) as n, min(tenant) as tenant from events"


async def until(true: Callable[[], bool]) -> None:
    """Fails if it does not come to be."""
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_person_sees_their_tenant_and_their_classes(pages: Pages) -> None:
    ask = pages.console.ask
    assert (await ask.sql(ANALYST, COUNT)).one() == {"n": 10, "tenant": "acme"}
    everybody = Actor("root", "person", None, ("admin",))
    assert (await ask.sql(everybody, COUNT)).one()["n"] == 30
    viewer = Actor("vic", "person", "acme", ("viewer",))
    assert not (await ask.visible(viewer)).has("sessions", "user_email")
    assert (await ask.visible(ANALYST)).has("sessions", "user_email", "cost_usd")
    with pytest.raises(AskFault) as refused:
        await ask.sql(viewer, "select user_email from sessions")
    assert (refused.value.status, refused.value.passing) == (403, False)


async def test_an_answer_is_shared_by_who_may_see_the_same_and_by_nobody_else(pages: Pages) -> None:
    ask = Ask(pages.sql.base, "root-key", timeout_s=10, kept_s=60)
    try:
        same = await asyncio.gather(*(ask.sql(ANALYST, COUNT) for _ in range(5)))
        assert all(one is same[0] for one in same)
        assert await ask.sql(BOB, COUNT) is same[0]
        other = await ask.sql(Actor("ann", "person", "globex", ("analyst",)), COUNT)
        assert other.one()["tenant"] == "globex"
        assert await ask.fresh(ANALYST, COUNT) is not same[0]
    finally:
        await ask.close()


async def test_one_who_leaves_does_not_take_the_answer_from_the_others(pages: Pages) -> None:
    ask = Ask(pages.sql.base, "root-key", timeout_s=10, kept_s=60)
    try:
        leaving, staying = (asyncio.create_task(ask.sql(ANALYST, COUNT)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).one()["n"] == 10
    finally:
        await ask.close()


async def test_an_answer_holds_until_something_comes_into_the_store(tmp_path: Path) -> None:
    """Or its readers may see something else."""
    roles, metrics, now = dict(DEFAULTS), QueryMetrics(), 0.0
    door = Door(KEYS.get, roles.get, unheard)
    async with (
        served(tmp_path) as (store, quiet),
        serving(quiet.database, metrics=metrics, door=door) as sql,
    ):
        ask = Ask(sql.base, "root-key", timeout_s=10, kept_s=1.0, clock=lambda: now)

        async def later() -> tuple[int, float]:
            """What is told then, and how many queries that took so far."""
            nonlocal now
            now += 2.0
            n = (await ask.sql(ANALYST, COUNT)).one()["n"]
            return n, metrics.value("sinks_query_requests_total", outcome="ok")

        try:
            assert [await later() for _ in range(3)] == [(0, 1), (0, 1), (0, 1)]
            await store.write([samples.batch("events", [samples.event(0, "acme")])])
            assert [await later() for _ in range(3)] == [(1, 2), (1, 2), (1, 2)]
            nothing = Grant("usage", rule=(Condition("team", ("none",)),))
            roles["analyst"] = replace(roles["analyst"], grants=(nothing,))
            assert [await later() for _ in range(2)] == [(0, 3), (0, 3)]
        finally:
            await ask.close()


async def test_an_answer_is_kept_for_a_moment_or_for_as_long_as_its_query_ran() -> None:
    now, asked = 0.0, 0
    kept = _Kept(clock=lambda: now)

    async def number(*, ran: float, waited: float = 0.0, holds: bool = False) -> int:
        async def fetch(before: Answer | None) -> Answer:
            nonlocal now, asked
            now, asked = now + waited + ran, asked + 1
            if holds:
                assert before is not None
                return before
            return Answer(("n",), [[asked]], False, seconds=ran)

        return int((await kept.get("number", "ann", 1.0, fetch)).one()["n"])

    assert await number(ran=0.1) == 1
    now += 0.9
    assert await number(ran=0.1) == 1
    now += 0.2
    assert await number(ran=5.0) == 2
    now += 4.9
    assert await number(ran=0.1) == 2
    now += 0.2
    assert await number(ran=0.1, waited=9.0) == 3
    now += 1.1
    assert await number(ran=0.1) == 4, "what it waited for its turn is no cost"
    now += 1.1
    assert await number(ran=7.0) == 5
    now += 7.1
    assert await number(ran=0.0, waited=0.9, holds=True) == 5
    now += 0.2
    assert await number(ran=0.0) == 7, "that it holds was asked more than a second ago, and nothing ran for it"


@pytest.mark.parametrize(("reason", "times"), [("time_limit", 2), ("memory_limit", 2), ("runtime_error", 4)])
async def test_a_question_that_came_to_its_limits_waits_as_long_as_it_took(reason: str, times: int) -> None:
    now, asked = 0.0, 0
    kept = _Kept(clock=lambda: now)

    async def fetch(before: Answer | None) -> Answer:
        nonlocal now, asked
        assert before is None
        now, asked = now + 9.0 + 15.0, asked + 1
        raise AskFault("too much", reason=reason, status=400, seconds=15.0)

    for pause in (1.0, 13.0, 2.0, 1.0):
        with pytest.raises(AskFault, match="too much"):
            await kept.get("number", "ann", 1.0, fetch)
        now += pause
    assert asked == times


def fetching() -> list[asyncio.Task[object]]:
    """The tasks of questions that are on their way."""
    return [one for one in asyncio.all_tasks() if getattr(one.get_coro(), "__qualname__", "") == "_Kept._fetch"]


async def test_the_query_goes_on_for_who_stays_and_stops_when_nobody_is_left(pages: Pages) -> None:
    metrics = QueryMetrics()

    def running() -> float:
        return metrics.value("sinks_query_running")

    async with serving(pages.sql.database, metrics=metrics) as sql:
        ask = Ask(sql.base, "root-key", timeout_s=60, kept_s=60)
        try:
            ann, bob = (asyncio.create_task(ask.sql(who, ENDLESS)) for who in (ANALYST, BOB))
            await until(lambda: running() == 1)
            assert len(fetching()) == 1
            ann.cancel()
            await asyncio.gather(ann, return_exceptions=True)
            assert (await ask.sql(ANALYST, COUNT)).one()["n"] == 10
            assert (running(), bob.done()) == (1, False)
            bob.cancel()
            await until(lambda: running() == 0)
            # Who comes after them asks anew, and is no heir to what was cancelled.
            late = asyncio.create_task(ask.sql(ANALYST, ENDLESS))
            await until(lambda: running() == 1)
            assert not late.done()
            late.cancel()
            await until(lambda: running() == 0)
            await until(lambda: not fetching())
            # A query has left its place a moment before it is counted.
            await until(lambda: metrics.value("sinks_query_requests_total", outcome="cancelled") == 2)
        finally:
            await ask.close()


async def test_who_asks_too_much_at_once_is_refused_alone(pages: Pages) -> None:
    metrics = QueryMetrics()
    async with serving(pages.sql.database, Limits(seconds=20.0, running=2, waiting=1), metrics) as sql:
        ask = Ask(sql.base, "root-key", timeout_s=60, kept_s=60)
        try:
            heavy = [asyncio.create_task(ask.fresh(ANALYST, ENDLESS)) for _ in range(2)]
            await until(lambda: metrics.value("sinks_query_waiting") == 1)
            ann, again, bob = (asyncio.create_task(ask.sql(who, COUNT)) for who in (ANALYST, ANALYST, BOB))
            assert (await bob).one()["n"] == 10
            for one in (ann, again):
                with pytest.raises(AskFault) as refused:
                    await one
                assert refused.value.reason == "busy"
            assert (await ask.sql(ANALYST, COUNT)).one()["n"] == 10, "what Bob was told is there for both"
            for one in heavy:
                one.cancel()
            await asyncio.gather(*heavy, return_exceptions=True)
        finally:
            await ask.close()


async def test_a_question_that_failed_is_asked_again(pages: Pages) -> None:
    ask = Ask(GONE, "root-key", timeout_s=1, kept_s=60)
    try:
        for _ in range(2):
            with pytest.raises(AskFault) as fault:
                await ask.sql(ANALYST, COUNT)
            assert (fault.value.passing, str(fault.value)) == (
                True,
                "the SQL service cannot be reached; it may be starting",
            )
    finally:
        await ask.close()


async def test_a_page_stands_when_the_store_is_gone_and_says_so_in_its_parts() -> None:
    async with pages_of(console_over(GONE, "root-key")) as pages:
        answer = await pages.get("/")
    assert answer.status_code in (200, 503)
    assert "the SQL service cannot be reached; it may be starting" in answer.text
