"""Thinking is in no text, whole or cut anywhere, however deep it stands in JSON within JSON."""

from __future__ import annotations

import json

import pytest

from schemas.policy.thinking import remove

THOUGHT = 'THOUGHT "quoted" \\ and\nmore'
CONTENT = [
    {"type": "thinking", "thinking": THOUGHT, "signature": "THOUGHT"},
    {"type": "redacted_thinking", "data": "THOUGHT"},
    {"type": "text", "text": "I was thinking"},
]
BODY = {
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "messages": [{"role": "assistant", "content": CONTENT}],
    "max_tokens": 4096,
}


def test_a_whole_body_says_how_many_blocks_there_were_and_keeps_the_rest() -> None:
    text, count = remove(json.dumps(BODY))
    assert count == 2
    left = [{"type": "thinking", "thinking": "<THINKING:2>"}, {"type": "text", "text": "I was thinking"}]
    assert json.loads(text) == BODY | {"messages": [{"role": "assistant", "content": left}]}


@pytest.mark.parametrize("depth", range(4))
def test_wherever_a_body_is_cut_no_thought_is_left(depth: int) -> None:
    text = json.dumps(BODY)
    for _ in range(depth):
        text = json.dumps({"output": text + "\n" + text})
    for end in range(0, len(text), 1 + 3 * depth**2):
        assert "THOUGHT" not in remove(text[:end])[0], text[:end]
    assert "I was thinking" in remove(text[:-1])[0]


def test_the_members_may_stand_in_any_order() -> None:
    for order in (("thinking", "type", "signature"), ("signature", "thinking", "type")):
        text = json.dumps([{name: {**CONTENT[0], "signature": "s"}[name] for name in order}])
        assert all("THOUGHT" not in remove(text[:end])[0] for end in range(len(text) + 1))


def test_deltas_of_a_stream_are_thinking_too() -> None:
    text = json.dumps({"delta": {"type": "thinking_delta", "thinking": "THOUGHT"}})
    assert json.loads(remove(text)[0]) == {"delta": {"type": "thinking", "thinking": "<THINKING:1>"}}


@pytest.mark.parametrize(
    "text",
    ["I was thinking.", '{"thinking":{"type":"enabled"}}', '{"a":"thinking"}', "[1,2]", '"thinking"', "thinking" * 9],
)
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert remove(text) == (text, 0)


def test_removing_again_changes_nothing() -> None:
    for text in (json.dumps(BODY), json.dumps(BODY)[:-9]):
        once, _ = remove(text)
        assert remove(once) == (once, 0)


@pytest.mark.parametrize(
    "text",
    [
        '"thinking":"' + "\\" * 200_000,
        '{"a":' * 50_000 + '"thinking"',
        '"thinking":"' * 20_000,
        '"thinking":[' * 20_000,
        '"thinking":{"type":"enabled"} ' * 20_000,
        '"thinking"' + " " * 200_000,
        "thinking=" * 20_000,
        "'thinking':'" * 20_000,
        '"thinking":[' + "\\" * 200_000,
        '"thinking":' + "[" * 200_000,
        "thinking" + "\\" * 200_000 + "u00",
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_text_comes_back(text: str) -> None:
    shown, count = remove(text)
    assert ("THINKING" in shown) == (count > 0)
    assert (shown == text) == (count == 0)


def test_half_a_surrogate_pair_beside_a_thought_harms_nothing() -> None:
    text, count = remove('[{"type":"thinking","thinking":"T"},"\\ud83d"]')
    assert (count, json.loads(text)[1]) == (1, "\ud83d")
    text.encode()


VALUES = ['["THOUGHT"]', '[["a"], "THOUGHT"]', '{"text": "THOUGHT"}', '{"a": [{"b": "]}THOUGHT"}]}', '"THOUGHT"']


@pytest.mark.parametrize("name", ["thinking", "redacted_thinking", "thinking_delta", "th\\u0069nking"])
@pytest.mark.parametrize("value", VALUES)
def test_what_is_called_so_is_thinking_of_whatever_type(name: str, value: str) -> None:
    text = f'{{"block": {{"{name}" : {value}}}, "after": "said"}}'
    for _ in range(3):
        whole, count = remove(text)
        assert count == 1
        assert "said" in whole
        for rest in (text + "\n{}", "x " + text):
            cut, count = remove(rest)
            assert ("THOUGHT" in cut, "said" in cut, count) == (False, True, 1), cut
        for end in range(len(text)):
            assert "THOUGHT" not in remove(text[:end])[0]
        text = json.dumps({"output": text})


def test_a_number_called_so_is_thinking_and_a_setting_is_none() -> None:
    assert json.loads(remove('{"thinking": 12.5, "a": 1}')[0]) == {"thinking": "<THINKING:1>", "a": 1}
    assert remove('x {"thinking": 12.5, "a": 1}') == ('x {"thinking": <THINKING:1>, "a": 1}', 1)
    for setting in (
        '{"thinking": {"type": "enabled", "budget_tokens": 1024}, "a":',
        "thinking={'type': 'disabled'}",
        '{"thinking":true}',
    ):
        assert remove(setting) == (setting, 0)


@pytest.mark.parametrize(
    "text",
    [
        "[ThinkingBlock(signature='s', thinking='THOUGHT', type='thinking'), TextBlock(text='said')]",
        'ThinkingBlock(thinking="it\'s THOUGHT", type="thinking"), \'said\'',
        r"ThinkingBlock(thinking='it\'s THOUGHT', type='thinking'), 'said'",
        "{'type': 'thinking', 'thinking': 'THOUGHT'}, 'said'",
        "[{'type': 'redacted_thinking', 'data': 'THOUGHT'}, 'said']",
        "{'thinking': ['THOUGHT', \"THOUGHT\"]} 'said'",
    ],
)
def test_python_shows_objects_without_thinking(text: str) -> None:
    for _ in range(3):
        shown, count = remove(text)
        assert ("THOUGHT" in shown, "said" in shown, count) == (False, True, 1), shown
        assert remove(shown) == (shown, 0)
        for end in range(len(text)):
            assert "THOUGHT" not in remove(text[:end])[0]
        text = json.dumps({"output": f"a\n{text}"})
