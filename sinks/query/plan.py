"""The last look before a query runs: what its plan reads, and whether it could be stopped in time.

Measured on DuckDB 2.0: interrupt() ends scans, sorts and hash joins at once, but a join on inequalities 44 s late. So
the joins that grow with the product of both sides are refused by their estimate instead.
"""

import json
from collections.abc import Collection, Iterator
from typing import Any

from sinks.query.errors import QueryError

# Operators without children: tables by name, and what holds rows of the query itself.
_LEAVES = frozenset(
    {
        "CHUNK_SCAN",
        "COLUMN_DATA_SCAN",
        "CTE_SCAN",
        "DELIM_SCAN",
        "DUMMY_SCAN",
        "EMPTY_RESULT",
        "EXPRESSION_SCAN",
        "INDEX_SCAN",
        "REC_CTE_SCAN",
        "REC_REC_CTE_SCAN",
        "SEQ_SCAN",
        "TABLE_SCAN",
    }
)
_TABLE_LEAVES = frozenset({"SEQ_SCAN", "TABLE_SCAN", "INDEX_SCAN"})
_PRODUCT_JOINS = frozenset(
    {"CROSS_PRODUCT", "NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN", "PIECEWISE_MERGE_JOIN", "IE_JOIN"}
)
# 50 million pairs are compared in about a second; estimates err, so this is far from the time limit.
_PAIRS_MAX = 50_000_000
_ROWS_MAX = 1_000_000_000


def check(explained: str, tables: Collection[str], *, tell: bool) -> None:
    """Refuse a plan that reads another table, or that could run away.

    Args:    explained: the second column of EXPLAIN (FORMAT JSON).  tables: full names that may be read.  tell: whether
             the estimates may be told; they are of whole tables, with the rows that are hidden from the asker.
    Raises:  QueryError(too_expensive); QueryError(unsupported) for a scan that should not be there.
    """
    try:
        for root in json.loads(explained):
            for node in _nodes(root):
                _check_node(node, tables, tell)
    except RecursionError as error:
        raise QueryError("the query is nested too deeply", reason="unsupported") from error


def _check_node(node: dict[str, Any], tables: Collection[str], tell: bool) -> None:
    name = node["name"].strip()
    details = node.get("extra_info", {})
    table = details.get("Table")
    # A part that is a keyword of SQL is shown in quotes; none of our names holds one.
    if table is not None and table.replace('"', "") not in tables:
        raise QueryError("the query reaches for a table that is not its own", reason="unsupported")
    if not node.get("children"):
        if name not in _LEAVES or (name in _TABLE_LEAVES and table is None):
            raise QueryError(f"{name.lower()} is not allowed", reason="unsupported")
    elif name in _PRODUCT_JOINS:
        pairs = 1
        for child in node["children"]:
            pairs *= max(1, _estimate(child))
        if pairs > _PAIRS_MAX:
            count = f"about {pairs:.1e}" if tell else "too many"
            raise QueryError(
                f"this join compares {count} pairs of rows: join on an equality (=), or filter one side more",
                reason="too_expensive",
            )
    if _own_estimate(node) > _ROWS_MAX:
        raise QueryError("this query would make more than a thousand million rows", reason="too_expensive")


def _nodes(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.get("children", []))


def _own_estimate(node: dict[str, Any]) -> int:
    text = str(node.get("extra_info", {}).get("Estimated Cardinality", "")).lstrip("~")
    return int(text) if text.isdigit() else 0


def _estimate(node: dict[str, Any]) -> int:
    """Rows that a node gives, as DuckDB guesses; where it does not say, what its children suggest."""
    own = _own_estimate(node)
    children = node.get("children", [])
    if own or not children:
        return own
    estimates = [_estimate(child) for child in children]
    if node["name"].strip() in _PRODUCT_JOINS:
        product = 1
        for estimate in estimates:
            product *= max(1, estimate)
        return product
    return max(estimates)
