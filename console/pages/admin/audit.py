"""The audit: who did, read or changed what. For whoever has the grant of it."""

from __future__ import annotations

from starlette.responses import Response

from console.filters import FilterFault, joined, literal, page_number
from console.web import Page, Visit

_ROWS = 50
_PAGES_MAX = 2000
_COLUMNS = (
    "audit_id",
    "occurred_at",
    "tenant",
    "actor",
    "actor_kind",
    "action",
    "target",
    "outcome",
    "reason",
    "detail",
    "client_address",
)
SEARCHED = {"actor": "Who", "action": "Action", "target": "Target"}
_TEXT_MAX = 256


async def audit(visit: Visit) -> Response:
    """A page of entries, the newest first."""
    visible = await visit.visible()
    columns = [one for one in _COLUMNS if visible.has("audit", one)]
    words = {name: _word(visit, name) for name in SEARCHED if name in columns}
    number = _number(visit)
    conditions = [visit.filters.in_range("occurred_at")]
    conditions += [f"contains(lower({name}), lower({literal(word)}))" for name, word in words.items() if word]
    if (tenant := visit.filters.values.get("tenant")) is not None:
        conditions.append(f"tenant = {literal(tenant)}")
    # What one did a moment ago is what one looks for here: an answer of now.
    sql = (
        f"SELECT {', '.join(columns)} FROM audit WHERE {joined(conditions)} "
        f"ORDER BY occurred_at DESC, audit_id LIMIT {_ROWS + 1} OFFSET {(number - 1) * _ROWS}"
    )
    found = (await visit.panels(rows=visit.ask_now(sql, limit=_ROWS + 1)))["rows"]
    kept = {name: word or None for name, word in words.items()}
    return visit.render(
        "admin/audit.html",
        found=found,
        columns=columns,
        words=words,
        labels=SEARCHED,
        number=number,
        size=_ROWS,
        kept=kept,
        url=lambda page: visit.filters.url("/admin/audit", page=None if page == 1 else str(page), **kept),
    )


def _word(visit: Visit, name: str) -> str:
    value = visit.request.query_params.get(name, "").strip()
    if len(value) > _TEXT_MAX or "\0" in value:
        raise FilterFault(f"{name} is longer than {_TEXT_MAX} characters, or no text")
    return value


def _number(visit: Visit) -> int:
    text = visit.request.query_params.get("page", "1")
    return page_number(text, first=1, most=_PAGES_MAX, cure="narrow the time range for older entries")


PAGES = (Page("/admin/audit", audit, sees="audit"),)
