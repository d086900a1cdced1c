"""The questions that README asks, for the SQL page; a test holds the two to be the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question in words and in SQL."""

    title: str
    sql: str


QUESTIONS = (
    Question(
        "What did each user cost, by day?",
        """\
select p.user_email, d.start, round(d.cost_usd, 4) as cost_usd, d.sessions
from user_days d join people p using (tenant, user_key) order by cost_usd desc""",
    ),
    Question(
        "Which sessions were the most expensive?",
        """\
select session_id, user_email, model, prompts, round(cost_usd, 4) as cost_usd, round(duration_s) as seconds
from sessions where not ghost order by cost_usd desc""",
    ),
    Question(
        "How many tokens went to which model?",
        """\
select model, count(*) as requests, sum(input_tokens) as input, sum(output_tokens) as output,
       sum(cache_read_tokens) as cache_read, round(sum(cost_usd), 4) as cost_usd
from events where event_name = 'api_request' group by model order by cost_usd desc""",
    ),
    Question(
        "Which tools work, and how fast?",
        """\
select tool_name, count(*) as calls, round(avg(success::int), 3) as succeeded, median(duration_ms) as p50_ms,
       quantile_cont(duration_ms, 0.95) as p95_ms
from events where event_name = 'tool_result' group by tool_name order by calls desc""",
    ),
    Question(
        "Who decided about permissions?",
        """\
select source, decision, count(*) as decisions
from events where event_name = 'tool_decision' group by all order by decisions desc""",
    ),
    Question(
        "What went wrong?",
        """\
select event_name, status_code, error_type, count(*) as errors
from events where event_name in ('api_error', 'api_retries_exhausted', 'internal_error') or success = false
group by all order by errors desc""",
    ),
    Question(
        "How long did people, and how long did Claude, work?",
        """\
select team, sum(active_user_s) / 3600 as user_hours, sum(active_cli_s) / 3600 as cli_hours
from user_days group by team order by user_hours desc""",
    ),
    Question(
        "Lines, commits and pull requests, and what they cost?",
        """\
select team, sum(lines_added) as added, sum(lines_removed) as removed, sum(commits) as commits,
       sum(pull_requests) as pull_requests, round(sum(spend_usd), 2) as usd
from user_days group by team order by commits desc""",
    ),
    Question(
        "Which commands were run, and by how many people?",
        """\
select command_line, count(*) as runs, count(distinct user_key) as people
from events where event_name = 'tool_result' and command_line is not null group by command_line order by runs desc""",
    ),
    Question(
        "What happened in one session?",
        """\
select event_sequence as seq, event_time, event_name, coalesce(tool_name, model) as what, duration_ms, cost_usd
from events where session_id = '5241f211-d738-4804-9500-d7af0d6ab2b7' order by event_time, seq""",
    ),
)
