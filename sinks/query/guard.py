"""What a query may consist of, decided on DuckDB's own syntax tree; everything that is not listed is refused.

The tree comes from the parser that later runs the text, so there is no second reading of it that could differ. The
checks here are the first of four layers: after them the text is bound in an empty copy of the key's names
(shadow.py), bound again on views with literal policies, and its plan is looked at (plan.py).
"""

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from sinks.query import functions
from sinks.query.errors import Position, QueryError

_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_TABLE_REFS = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EMPTY", "EXPRESSION_LIST"})
_MODIFIERS = frozenset({"ORDER_MODIFIER", "LIMIT_MODIFIER", "DISTINCT_MODIFIER"})
_ORDERS = frozenset({"ORDER_DEFAULT", "ASCENDING", "DESCENDING"})
# class → allowed types (None: every type of the class)
_EXPRESSIONS: dict[str, frozenset[str] | None] = {
    "BETWEEN": None,
    "CASE": None,
    "CAST": None,
    "COLLATE": None,
    "COLUMN_REF": None,
    "COMPARISON": None,
    "CONJUNCTION": None,
    "CONSTANT": None,
    "FUNCTION": None,
    "LAMBDA": None,
    "POSITIONAL_REFERENCE": None,
    "STAR": None,
    "SUBQUERY": None,
    "TYPE": None,
    "WINDOW": None,
    "OPERATOR": frozenset(
        {
            "ARRAY_CONSTRUCTOR",
            "ARRAY_EXTRACT",
            "ARRAY_SLICE",
            "COMPARE_IN",
            "COMPARE_NOT_IN",
            "GROUPING_FUNCTION",
            "OPERATOR_COALESCE",
            "OPERATOR_IS_NOT_NULL",
            "OPERATOR_IS_NULL",
            "OPERATOR_NOT",
            "OPERATOR_NULLIF",
            "OPERATOR_TRY",
            "OPERATOR_UNPACK",
            "STRUCT_EXTRACT",
        }
    ),
}
_JOIN_REFS = frozenset({"REGULAR", "CROSS", "NATURAL", "ASOF", "DEPENDENT", "LATERAL"})
# A CTE that is out of scope where it is used resolves to the catalogue; these are the names that mean something there.
_CATALOGUE_NAME = re.compile(r"(duckdb|pg|sqlite|pragma|information)_", re.IGNORECASE)
_NODES_MAX = 50_000
_REFUSED_HINTS = {
    "PIVOT": "PIVOT and UNPIVOT are not allowed; use aggregates with FILTER (WHERE ...)",
    "SHOW_REF": "SHOW, DESCRIBE and SUMMARIZE are not allowed; GET /schema lists names and columns",
    "PARAMETER": "parameters are not allowed; write the value",
    "INSERT_QUERY_NODE": "only SELECT is allowed",
}


@dataclass(frozen=True)
class Checked:
    """A query that may be bound.  names: the SQL names that it uses."""

    sql: str
    names: tuple[str, ...]


def check(
    parser: Any, sql: str, known: Collection[str], allowed: Collection[str], refusal: Callable[[str], str]
) -> Checked:
    """Refuse whatever is not one plain SELECT over the allowed names.

    Args:    parser: any DuckDB connection; it only parses.  known: every SQL name.  allowed: those that the asker may
             read.  refusal: why another known name may not be read.
    Raises:  QueryError.
    """
    if "\0" in sql or any("\ud800" <= character <= "\udfff" for character in sql):
        raise QueryError("the query holds a character that is no text", reason="syntax_error")
    node = _parse(parser, sql)
    walk = _Walk(sql, frozenset(known), frozenset(allowed), refusal)
    walk.run(node)
    return Checked(sql, tuple(sorted(walk.used)))


def _parse(parser: Any, sql: str) -> Any:
    """The tree of the only statement.  Raises: QueryError; duckdb.InterruptException: its time was over before."""
    try:
        statements = parser.extract_statements(sql)
        tree = json.loads(parser.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0][0])
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise from_duckdb(error, sql, reason="syntax_error") from error
    except (ValueError, RecursionError, UnicodeError) as error:
        raise QueryError("the query cannot be read: it is nested too deeply", reason="unsupported") from error
    if len(statements) != 1:
        count = "no statement" if not statements else f"{len(statements)} statements"
        raise QueryError(f"{count}: send exactly one SELECT", reason="unsupported")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rpartition(".")[2]
        hint = _REFUSED_HINTS["PIVOT"] if kind == "MULTI" else "only SELECT is allowed"
        raise QueryError(f"{hint} (this is {kind})", reason="unsupported")
    if tree.get("error") or len(tree["statements"]) != 1 or tree["statements"][0].get("named_param_map"):
        message = str(tree.get("error_message") or "parameters are not allowed; write the value")
        position = Position.at(sql, int(tree["position"])) if str(tree.get("position", "")).isdigit() else None
        syntax = tree.get("error_type") == "parser"
        raise QueryError(message, reason="syntax_error" if syntax else "unsupported", position=position)
    return tree["statements"][0]["node"]


class _Walk:
    """One pass over every node of a tree, without recursion."""

    def __init__(self, sql: str, known: frozenset[str], allowed: frozenset[str], refusal: Callable[[str], str]) -> None:
        self._sql = sql
        self._refusal = refusal
        self._known = known
        self._allowed = allowed
        self._ctes: set[str] = set()
        self.used: set[str] = set()

    def run(self, root: Any) -> None:
        nodes = list(_nodes(root))
        if len(nodes) > _NODES_MAX:
            raise QueryError("the query is too long", reason="unsupported")
        for node in nodes:
            for cte in _ctes(node):
                self._declare(cte)
        for node in nodes:
            self._visit(node)

    def _visit(self, node: dict[str, Any]) -> None:
        kind = node.get("type")
        if "class" in node:
            types = _EXPRESSIONS.get(node["class"], frozenset())
            if types is not None and kind not in types:
                raise self._refused(node, str(node["class"] if not types else kind))
        elif isinstance(kind, str) and kind not in _QUERY_NODES | _TABLE_REFS | _MODIFIERS | _ORDERS:
            raise self._refused(node, kind)
        if kind == "BASE_TABLE":
            self._table(node)
        elif kind == "TABLE_FUNCTION":
            name = node["function"].get("function_name", "").lower()
            if name not in functions.TABLE_FUNCTIONS:
                raise self._error(node, f"{name}() is not allowed as a table", "unknown_function")
        elif kind == "JOIN" and node.get("ref_type") not in _JOIN_REFS:
            raise self._refused(node, f"{node.get('ref_type')} JOIN")
        if node.get("class") == "COLUMN_REF":
            names = node["column_names"]
            if len(names) == 1 and names[0].lower() in functions.PSEUDO_COLUMNS:
                raise self._error(node, f"{names[0]} is not allowed", "unsupported")
        if node.get("class") == "TYPE" and _path(node) != [node.get("type_name")]:
            raise self._error(node, "only DuckDB's own types are allowed", "unsupported")
        if "function_name" in node:
            self._function(node)

    def _declare(self, name: str) -> None:
        folded = name.lower()
        if folded in self._known or _CATALOGUE_NAME.match(folded):
            raise QueryError(f'a WITH query may not be called "{name}"; choose another name', reason="unsupported")
        self._ctes.add(folded)

    def _table(self, node: dict[str, Any]) -> None:
        name = str(node.get("table_name", ""))
        qualified = node.get("catalog_name") or node.get("schema_name") or _path(node) != [name]
        if qualified or node.get("at_clause") is not None:
            path = ".".join(_path(node))
            raise self._error(node, f"no table '{path}'; the names are {self._list()}", "unknown_table")
        folded = name.lower()
        if folded in self._ctes:
            return
        if folded not in self._known:
            close = difflib.get_close_matches(folded, sorted(self._allowed | self._ctes), n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise self._error(node, f"no table '{name}'{hint}; the names are {self._list()}", "unknown_table")
        if folded not in self._allowed:
            raise self._error(node, self._refusal(folded), "forbidden")
        self.used.add(folded)

    def _function(self, node: dict[str, Any]) -> None:
        name = str(node["function_name"])
        folded = name.lower()
        if node.get("schema") or node.get("catalog") or _path(node) != [name]:
            path = ".".join(_path(node))
            message = f"{path}() is not allowed; write {folded}(...) without a prefix"
            raise self._error(node, message, "unknown_function")
        if folded not in functions.ALLOWED:
            close = difflib.get_close_matches(folded, functions.ALLOWED, n=1, cutoff=0.75)
            hint = f"; did you mean {close[0]}()?" if close else ""
            raise self._error(node, f"{name}() does not exist or is not allowed{hint}", "unknown_function")
        arguments = [argument.get("expression", {}) for argument in node.get("arguments", [])]
        if any(argument.get("name") for argument in node.get("arguments", [])) and folded in _CHECKED:
            raise self._error(node, f"{folded}() takes no names for its arguments here", "unsupported")
        at = functions.LENGTH_ARGUMENT.get(folded)
        if at is not None and at < len(arguments):
            text = _constant(arguments[at], "INTEGER")
            if text is None or int(text) > functions.LENGTH_MAX:
                message = f"{folded}() needs a constant length of at most {functions.LENGTH_MAX}"
                raise self._error(node, message, "unsupported")
        if folded in functions.FORMATS and arguments:
            text = _constant(arguments[0], "STRING")
            if text is None or _WIDE.search(text):
                raise self._error(node, f"{folded}() needs a constant format with small widths", "unsupported")

    def _list(self) -> str:
        return ", ".join(sorted(self._allowed))

    def _refused(self, node: dict[str, Any], what: str) -> QueryError:
        message = _REFUSED_HINTS.get(what, f"{what.replace('_', ' ').lower()} is not allowed")
        return self._error(node, message, "unsupported")

    def _error(self, node: dict[str, Any], message: str, reason: str) -> QueryError:
        offset = node.get("query_location")
        known = isinstance(offset, int) and 0 <= offset <= len(self._sql.encode())
        return QueryError(message, reason=reason, position=Position.at(self._sql, int(offset or 0)) if known else None)


def _nodes(root: Any) -> Iterator[dict[str, Any]]:
    """Every dict of the tree, the outer ones first."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _ctes(node: dict[str, Any]) -> Iterator[str]:
    for entry in (node.get("cte_map") or {}).get("map", []):
        yield str(entry["key"])
    if node.get("cte_name"):
        yield str(node["cte_name"])


def _path(node: dict[str, Any]) -> list[str]:
    return [str(part) for part in (node.get("qualified_name") or {}).get("path", [])]


def _constant(node: dict[str, Any], kind: str) -> str | None:
    """The text of a literal of that kind, else None."""
    found = node.get("literal") or {}
    return str(found.get("text", "")) if node.get("class") == "CONSTANT" and found.get("kind") == kind else None


_CHECKED = functions.LENGTH_ARGUMENT.keys() | functions.FORMATS
# A width of many digits, or one taken from another argument.
_WIDE = re.compile(rf"\d{{{functions.FORMAT_DIGITS_MAX + 1}}}|[*]|\{{[^}}]*\{{")

# DuckDB shows the place as an excerpt with a caret under it.
_EXCERPT = re.compile(r"\n+LINE (\d+): (.*)\n( *)\^.*", re.DOTALL)


def from_duckdb(error: duckdb.Error, sql: str, *, reason: str, lines_before: int = 0) -> QueryError:
    """DuckDB's error with its place as a position.

    Args:    lines_before: lines that stood before the asker's text.
    """
    text = str(error)
    found = _EXCERPT.search(text)
    position = None
    if found is not None:
        text = text[: found.start()]
        line = int(found[1]) - lines_before
        shown, caret = found[2], len(found[3]) - len(f"LINE {found[1]}: ")
        lines = sql.split("\n")
        if 1 <= line <= len(lines):
            excerpt = shown.strip(".")
            start = lines[line - 1].find(excerpt[:40]) if shown.startswith("...") else 0
            cut = 3 if shown.startswith("...") else 0
            position = Position(line, max(1, start + caret - cut + 1)) if start >= 0 else Position(line, 1)
    return QueryError(text.strip(), reason=reason, position=position)
