"""The hostile client of the walk leaves out nothing that a client has a word in."""

from __future__ import annotations

from collections import defaultdict

from schemas import codec, otlp
from schemas.records import record
from schemas.topics import CATALOGUE
from tests.console import hostile
from tests.schemas.otlp.requests import CONTEXT

# Ours, or ids and words of a fixed form; what has another form is kept out of them.
OURS = """
    event_id point_id trace_id span_id parent_span_id tenant user_key series route routing_rule pipeline_error
    event_action event_category event_outcome kind temporality status_code buckets_json exemplars_json links_json
    command_executable url_host ingest_key_id
""".split()  # noqa: SIM905 - one block reads better than twenty lines
# Marks: the text is content, which is asked for by a click. A name or a severity that is no plain word is, too.
CONTENT = {
    "event_name",
    "severity_text",
    "body",
    "prompt",
    "prompt_text",
    "user_prompt",
    "tool_input",
    "tool_parameters",
}


def test_every_text_of_every_record_is_hostile_somewhere() -> None:
    hurt: dict[str, set[str]] = defaultdict(set)
    for request in hostile.requests():
        decoded = otlp.transcode(request.signal, otlp.JSON, request.body, CONTEXT)
        assert decoded.rejections == []
        for entry in decoded.entries:
            for message in entry.messages:
                name = CATALOGUE[message.topic].record
                values = codec.decode(name, message.value)
                hurt[name] |= {field for field, value in values.items() if "<script>" in str(value)}
    assert hurt.keys() == {"claude_event", "claude_content", "metric_point", "claude_span"}
    for name, found in hurt.items():
        texts = {one.name for one in record(name).fields if one.type == "string"}
        assert texts - found - CONTENT - set(OURS) == set(), name
