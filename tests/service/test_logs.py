import logging

from service.logs import _Calm


def record(name: str, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, message, arguments, None)


def test_a_library_that_repeats_itself_is_heard_every_ten_seconds() -> None:
    now = [0.0]
    calm = _Calm(lambda: now[0])
    assert calm.filter(record("aiokafka", "no connection to %s", 1))
    assert not any(calm.filter(record("aiokafka", "no connection to %s", node)) for node in range(100))
    assert calm.filter(record("aiokafka", "something else"))
    now[0] = 10.0
    again = record("aiokafka", "no connection to %s", 2)
    assert calm.filter(again)
    assert again.getMessage() == "no connection to 2 (100 more like this)"


def test_our_own_words_are_never_left_out() -> None:
    calm = _Calm(lambda: 0.0)
    assert all(calm.filter(record("streams.engine", "stopped")) for _ in range(3))
