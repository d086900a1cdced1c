"""The audit: who did, read or changed what. For whoever has the grant of it.

Where people are named is also where an admin of all ends somebody's sign-ins.
"""

from __future__ import annotations

from starlette.responses import Response

from console.filters import FilterFault, joined, page_number
from console.pages.admin.changing import or_again, text
from console.web import Page, Visit
from service.audit import KEY_USE, entry
from service.sql import literal

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
    searched = [f"contains(lower({name}), lower({literal(word)}))" for name, word in words.items() if word]
    # Of every key once a day, whatever happens: who looks for nothing in particular would see little else.
    conditions += searched or [f"action <> '{KEY_USE}'"]
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
        uses=None if searched else visit.filters.url("/admin/audit", action=KEY_USE),
        url=lambda page: visit.filters.url("/admin/audit", page=None if page == 1 else str(page), **kept),
    )


async def sign_out(visit: Visit) -> Response:
    """Somebody's sign-ins end, all of them: they left, or their groups are others now."""
    who = text(visit, "who")
    if not who:
        return visit.render(
            "refusal.html",
            status=400,
            title="Nobody is named",
            text="Give the id of a person, as the audit has it.",
            again=False,
        )

    async def make() -> Response:
        said = entry(
            "signin.end",
            actor=visit.person.id,
            actor_kind="person",
            tenant=visit.person.tenant,
            target=who,
            client_address=visit.address,
        )
        await visit.console.audit.write([said])
        await visit.console.cookies.end_everywhere(who)
        return visit.go(visit.filters.url("/admin/audit", action="signin.end"))

    async def again(why: str, status: int) -> Response:
        return visit.render("refusal.html", status=status, title="Nobody is signed out", text=why, again=True)

    return await or_again(make(), again)


def _word(visit: Visit, name: str) -> str:
    value = visit.request.query_params.get(name, "").strip()
    if len(value) > _TEXT_MAX or "\0" in value:
        raise FilterFault(f"{name} is longer than {_TEXT_MAX} characters, or no text")
    return value


def _number(visit: Visit) -> int:
    text = visit.request.query_params.get("page", "1")
    return page_number(text, first=1, most=_PAGES_MAX, cure="narrow the time range for older entries")


PAGES = (
    Page("/admin/audit", audit, sees="audit"),
    Page("/admin/audit/signout", sign_out, need="root", changes=True),
)
