from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from service.health import Health


@pytest.fixture
async def served() -> AsyncIterator[tuple[Health, str]]:
    registry = CollectorRegistry()
    Counter("things_total", "Things.", registry=registry).inc(3)
    health = Health("example")
    port = await health.serve("127.0.0.1", 0, registry)
    yield health, f"http://127.0.0.1:{port}"
    await health.close()


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


async def test_a_process_that_starts_lives_but_is_not_ready(served: tuple[Health, str]) -> None:
    _, url = served
    assert (await get(f"{url}/healthz")).status_code == 200
    answer = await get(f"{url}/readyz")
    assert answer.status_code == 503
    assert answer.json()["why"] == "starting"


async def test_readiness_tells_lag_and_the_last_error(served: tuple[Health, str]) -> None:
    health, url = served
    health.failed(ValueError("it broke"))
    health.set_lag({"claude.events.v1": 3, "claude.metrics.v1": 4})
    health.set_ready(True)
    answer = await get(f"{url}/readyz")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["process"], body["ready"], body["why"]) == ("example", True, "")
    assert (body["lag_total"], body["last_error"]) == (7, "ValueError: it broke")
    assert body["since"].endswith("+00:00")


async def test_details_by_partition_are_told(served: tuple[Health, str]) -> None:
    health, url = served
    health.details = {"standbys": {3: {"unread": 5}}}
    assert (await get(f"{url}/readyz")).json()["details"] == {"standbys": {"3": {"unread": 5}}}


async def test_metrics_are_served(served: tuple[Health, str]) -> None:
    assert "things_total 3.0" in (await get(f"{served[1]}/metrics")).text


async def test_other_paths_and_methods_are_refused(served: tuple[Health, str]) -> None:
    assert (await get(f"{served[1]}/nope")).status_code == 404
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(f"{served[1]}/healthz")).status_code == 405


async def test_a_taken_port_is_an_error(served: tuple[Health, str]) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await Health("other").serve("127.0.0.1", int(served[1].rsplit(":", 1)[1]))
