import csv
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from millrace.errors import QueryFault
from millrace.query import Answer, ask, render
from tests.ports import free_port

ANSWER = Answer(
    ["user_email", "cost", "models", "ghost", "team"],
    [
        ["ada@example.com", 1.25, {"claude-sonnet-4-6": 1.25}, False, None],
        ["lise@example.com", 12.5, {}, True, 'a "b",\nc'],
    ],
)


def test_json_is_one_array_of_objects() -> None:
    rows = json.loads(render(ANSWER, "json"))
    assert rows == [dict(zip(ANSWER.columns, row, strict=True)) for row in ANSWER.rows]
    assert json.loads(render(Answer(["a"], []), "json")) == []


def test_json_keeps_every_column_of_one_name() -> None:
    assert json.loads(render(Answer(["n", "n", "n_2", "n"], [[1, 2, 3, 4]]), "json")) == [
        {"n": 1, "n_3": 2, "n_2": 3, "n_4": 4}
    ]


def test_csv_can_be_read_back() -> None:
    rows = list(csv.reader(io.StringIO(render(ANSWER, "csv"))))
    assert rows[0] == ANSWER.columns
    assert rows[2] == ["lise@example.com", "12.5", "{}", "true", 'a "b",\nc']


def test_a_table_lines_up_and_hides_what_would_move_the_cursor() -> None:
    lines = render(Answer(["name", "n"], [["a", 1], ["b\x1b[2J\nc", 20]]), "table").splitlines()
    assert lines == ["name      n", "-------  --", "a         1", "b\ufffd[2J⏎c  20", "(2 rows)"]


def test_an_empty_table_has_its_head() -> None:
    assert render(Answer(["name"], []), "table") == "name\n----\n(0 rows)\n"


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"columns": ["asked", "key"], "rows": [[body, self.headers["Authorization"]]]}
        status = 200
        if body["sql"] == "bad":
            status, answer = 400, {"error": "no such column: bad"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("limit", "body"), [(None, {"sql": "select 1"}), (5, {"sql": "select 1", "limit": 5})])
def test_a_question_goes_out_with_the_key_and_the_limit(url: str, limit: int | None, body: dict[str, Any]) -> None:
    assert ask(url, "mlr_x", "select 1", limit).rows == [[body, "Bearer mlr_x"]]


def test_bad_sql_is_told_in_the_words_of_the_service(url: str) -> None:
    with pytest.raises(QueryFault, match=r"^no such column: bad$"):
        ask(url, "k", "bad", None)


def test_no_service_is_one_clear_line() -> None:
    port = free_port()
    with pytest.raises(QueryFault, match=rf"127.0.0.1:{port} does not answer \(ConnectError\): start the stack"):
        ask(f"http://127.0.0.1:{port}", "k", "select 1", None)
