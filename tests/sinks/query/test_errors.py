"""Bad SQL: an error that helps, with the place, and never a value."""

import pytest

from tests.sinks.query.conftest import Sql

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("statement", "code", "says", "place"),
    [
        ("selct 1", "syntax_error", 'syntax error at or near "selct"', (1, 1)),
        ("select *\nfrom events\nwhere", "syntax_error", "syntax error", None),
        ("select * from evnts", "unknown_table", "no table 'evnts' (did you mean 'events'?); the names are ", (1, 15)),
        ("select 'ü',\n  (select 1 from nope)", "unknown_table", "no table 'nope'", (2, 18)),
        ("select * from a.events", "unknown_table", "no table 'a.events'", (1, 15)),
        ("select cost from events", "bind_error", '"cost" not found', (1, 8)),
        ("select\n  count(*),\n  cost_us\nfrom events", "bind_error", "cost_usd", (3, 3)),
        ("select sum(model) from events", "bind_error", "sum", (1, 8)),
        ("select model, count(*) from events", "bind_error", "GROUP BY", (1, 8)),
        ("select upcase(model) from events", "unknown_function", "upcase() does not exist or is not allowed", (1, 8)),
        ("select round(1, 2, 3, 4)", "bind_error", "round", (1, 8)),
        ("select 'x'::int", "runtime_error", "Could not convert string 'x' to INT32", (1, 11)),
        ("select * from read_csv('x')", "unknown_function", "read_csv() is not allowed as a table", (1, 15)),
        ("delete from events", "unsupported", "only SELECT is allowed (this is DELETE)", None),
        ("select 1; select 2", "unsupported", "2 statements: send exactly one SELECT", None),
        ("", "unsupported", "no statement", None),
        ("  -- nothing", "unsupported", "no statement", None),
        ("show tables", "unsupported", "GET /schema lists names and columns", None),
        ("pivot events on model using count(*)", "unsupported", "use aggregates with FILTER", None),
        ("select ?", "unsupported", "parameters are not allowed", None),
        ("with events as (select 1) select * from events", "unsupported", 'may not be called "events"', None),
        ("select '\0'", "syntax_error", "a character that is no text", None),
        ("select " + "(" * 3000 + "1" + ")" * 3000, "syntax_error", "depth", None),
        ("select " + "+".join(["1"] * 20_000), "unsupported", "", None),
        ("select * from (" * 900 + "select 1" + ")" * 900, "unsupported", "", None),
        ("select * from events where " + " or ".join(["event_id = 'x'"] * 900), "", "", None),
        ("select 1 as " + "x" * 70_000, "", "", None),
    ],
)
async def test_an_error_says_what_and_where(
    sql: Sql, statement: str, code: str, says: str, place: tuple[int, int] | None
) -> None:
    if not code:
        assert (await sql.post(statement)).status_code == 200
        return
    error = await sql.error(statement)
    assert error["code"] == code or (code == "unsupported" and error["code"] == "syntax_error")
    assert says in error["message"]
    assert "EXPLAIN" not in error["message"]
    assert "LINE" not in error["message"]
    if place is not None:
        assert (error.get("line"), error.get("column")) == place


async def test_the_place_is_right_in_a_long_line(sql: Sql) -> None:
    before = "select " + ", ".join(f"event_id as column_{i}" for i in range(40)) + ", "
    error = await sql.error(before + "no_such_column from events")
    assert (error["line"], error["column"]) == (1, len(before) + 1)
