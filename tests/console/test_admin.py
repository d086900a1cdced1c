"""The pages of admins on a real control plane: what they change is so, is told to the audit, and undoes nothing."""

from __future__ import annotations

import asyncio
import html
import json
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from console.people import Person
from console.web import Console
from millrace.kafka import Broker
from schemas import keys, policy, routing
from schemas.roles import DEFAULTS, Role, checked_grant
from schemas.topics import CATALOGUE
from service import keyring, policies
from service import roles as role_changes
from service.audit import AuditLog
from service.changes import Who, audited, last_change
from service.cluster import ensure_topics
from service.control import ControlView
from service.links import link
from service.policies import PolicyChange
from sinks.query.service import Door
from tests.console.conftest import GONE, SECRET, Pages, console_over, pages_of
from tests.console.handmade import pages_over
from tests.console.people import person
from tests.millrace.test_roles import entries
from tests.sinks.query import samples
from tests.sinks.query.conftest import served

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = re.compile(r"mlr_(?:ingest|query|admin)_[0-9a-f]{16}_[0-9a-f]{64}")
ROOT = person("admin", id_="root@example.com")
ACME = person("admin", tenant="acme", id_="admin@acme.example")
# Elsewhere than at the pages: the command line, or another console.
ELSEWHERE = Who("somebody else")
HOSTILE = "<script>alert(1)</script>\"'</script>"


def where(plane: Pages) -> tuple[dict[str, Any], str]:
    return dict(plane.console.kafka), plane.console.settings.prefix


def console_beside(plane: Pages, sql_url: str, key: str) -> Console:
    """Another console on the same control plane."""
    console = console_over(sql_url, key, prefix=plane.console.settings.prefix)
    console.kafka, console.control = plane.console.kafka, plane.console.control
    return console


async def told(plane: Pages, target: str) -> list[dict[str, Any]]:
    """The audit's entries about something."""
    return [one for one in await all_told(plane) if one["target"] == target]


async def all_told(plane: Pages) -> list[dict[str, Any]]:
    """The whole audit topic."""
    return await entries(dict(plane.console.kafka), plane.console.settings.prefix)


async def new_key(plane: Pages, who: Person = ROOT, **form: str) -> str:
    answer = await plane.post("/admin/keys/create", {"kind": "query", "tenant": "acme", "name": "", **form}, who)
    assert answer.status_code == 200, answer.text
    (text,) = set(KEY.findall(answer.text))
    return str(text)


def seen(plane: Pages, kind: str, id_: str) -> str:
    return str(last_change(plane.console.control, kind, id_))


def ids(plane: Pages) -> set[str]:
    listed = plane.console.control.keys()
    return {key.id for key in listed}


def names(plane: Pages) -> set[str]:
    listed = plane.console.control.keys()
    return {key.name for key in listed}


async def eventually(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.02)


# Keys


async def test_a_key_is_shown_once_works_and_is_told_to_the_audit(plane: Pages) -> None:
    text = await new_key(plane, name="for the dashboards", role="viewer")
    key = plane.console.control.authenticate(text)
    assert key is not None
    assert (key.kind, key.tenant, key.roles, key.name) == ("query", "acme", ("viewer",), "for the dashboards")
    page = (await plane.get("/admin/keys", ROOT)).text
    assert key.id in page
    assert "for the dashboards" in page
    assert not KEY.search(page)
    (entry,) = await told(plane, key.id)
    assert {name: entry[name] for name in ("action", "actor", "actor_kind", "tenant", "outcome", "client_address")} == {
        "action": "key.create",
        "actor": "root@example.com",
        "actor_kind": "person",
        "tenant": "acme",
        "outcome": "done",
        "client_address": "192.0.2.7",
    }
    assert text not in json.dumps(entry)


async def test_a_rotated_key_has_a_successor_that_may_the_same_and_stays_until_it_is_revoked(plane: Pages) -> None:
    text = await new_key(plane, name="ci", role="security")
    old = keys.parse_key(text).id
    answer = await plane.post("/admin/keys/rotate", {"id": old}, ROOT)
    (new_text,) = set(KEY.findall(answer.text))
    assert f"The key {old} is still good" in answer.text
    new, before = (plane.console.control.authenticate(one) for one in (new_text, text))
    assert new is not None
    assert before is not None
    assert (new.kind, new.tenant, new.roles, new.name) == (before.kind, before.tenant, before.roles, before.name)
    assert new.id != old
    answer = await plane.post("/admin/keys/revoke", {"id": old}, ROOT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/keys")
    assert plane.console.control.authenticate(text) is None
    assert plane.console.control.authenticate(new_text) is not None
    assert [one["action"] for one in await told(plane, old)] == ["key.create", "key.revoke"]
    assert old not in (await plane.get("/admin/keys", ROOT)).text


@pytest.mark.parametrize("change", ["create", "rotate"])
async def test_the_address_of_a_key_that_was_made_leads_back_to_the_keys(plane: Pages, change: str) -> None:
    answer = await plane.get(f"/admin/keys/{change}", ROOT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/keys")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"kind": "none"}, "a key is of the kind ingest, query, admin"),
        ({"kind": "ingest", "tenant": ""}, "is of one tenant"),
        ({"kind": "query", "tenant": "a b"}, "a tenant is 1 to 64 letters"),
        ({"kind": "query", "tenant": HOSTILE}, "a tenant is 1 to 64 letters"),
        ({"kind": "ingest", "role": "viewer"}, "only a query key has roles"),
        ({"kind": "query", "role": "nobody"}, "there is no role nobody"),
        ({"kind": "query", "name": "x" * 201}, "one line of at most 200"),
        ({"kind": "query", "name": "a\nb"}, "one line of at most 200"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_at_the_form(plane: Pages, form: dict[str, str], words: str) -> None:
    before = len(plane.console.control.keys())
    answer = await plane.post("/admin/keys/create", {"tenant": "acme", "name": "kept", **form}, ROOT)
    assert answer.status_code == 409
    assert words in answer.text
    assert "name" in form or 'value="kept"' in answer.text
    assert "<script>" not in answer.text.replace("<script src=", "")
    assert len(plane.console.control.keys()) == before


async def test_an_admin_of_one_tenant_has_nothing_to_do_with_others_keys(plane: Pages) -> None:
    other = keys.parse_key(await new_key(plane, tenant="globex", name="theirs")).id
    everybodys = keys.parse_key(await new_key(plane, kind="admin", tenant="")).id
    page = (await plane.get("/admin/keys", ACME)).text
    assert other not in page
    assert everybodys not in page
    for action in ("rotate", "revoke"):
        for id_ in (other, everybodys):
            answer = await plane.post(f"/admin/keys/{action}", {"id": id_}, ACME)
            assert answer.status_code == 409
            assert f"there is no key in force with id {id_}" in answer.text
            assert "theirs" not in answer.text
    assert {other, everybodys} <= ids(plane)
    # Whatever the form says, a key that they make is of their own tenant; an admin key, too.
    for kind in keys.KINDS:
        for tenant in ("globex", ""):
            made = plane.console.control.authenticate(await new_key(plane, ACME, kind=kind, tenant=tenant))
            assert made is not None
            assert (made.kind, made.tenant) == (kind, "acme")


async def test_the_key_that_the_pages_ask_with_is_not_revoked_by_them(plane: Pages) -> None:
    text = await new_key(plane, kind="admin", tenant="")
    # With this key the SQL service of the tests gives no answer: the page stands without it.
    async with pages_of(console_beside(plane, plane.sql.base, text)) as there:
        page = await there.get("/admin/keys", ROOT)
        assert page.status_code == 200
        assert "these pages ask with it" in page.text
        answer = await there.post("/admin/keys/revoke", {"id": keys.parse_key(text).id}, ROOT)
        assert answer.status_code == 409
        assert "this page itself asks with this key" in answer.text
    assert plane.console.control.authenticate(text) is not None


async def row_of(pages: Pages, id_: str, who: Person = ROOT) -> str:
    """A key on the page of keys."""
    return (await pages.get(f"/admin/keys?q={id_}", who)).text.partition(f'id="key-{id_}"')[2].partition("</tr>")[0]


async def test_a_key_of_which_nothing_is_recorded_says_so(plane: Pages) -> None:
    for kind, said in (("ingest", "never used"), ("query", "none recorded"), ("admin", "none recorded")):
        assert said in await row_of(plane, keys.parse_key(await new_key(plane, kind=kind)).id)


async def test_the_day_on_which_a_key_last_asked_is_shown_and_leads_to_its_entries(
    plane: Pages, tmp_path: Path
) -> None:
    ours, used, unused = [await new_key(plane, kind=kind) for kind in ("admin", "query", "query")]
    ids = [keys.parse_key(one).id for one in (ours, used, unused)]
    door = Door(plane.console.control.authenticate, DEFAULTS.get, plane.console.audit.write)
    async with (
        served(tmp_path, door=door) as (store, sql),
        pages_of(console_beside(plane, sql.base, ours)) as there,
    ):
        for _ in range(2):
            await sql.post("select 1", used)
        assert "none recorded" in await row_of(there, ids[1], ACME)
        told = await uses_of(plane, *ids[:2])
        await store.write([samples.batch("audit", told)])
        day = f"{datetime.fromtimestamp(told[0]['occurred_at'] / 1e6, UTC):%Y-%m-%d}"
        for id_ in ids[:2]:
            assert f">{day}</a>" in await row_of(there, id_, ACME)
        assert "none recorded" in await row_of(there, ids[2], ACME)
        (link_,) = re.findall(r'href="(/admin/audit[^"]+)"', await row_of(there, ids[1], ACME))
        entries_ = (await there.get(html.unescape(link_), ACME)).text
        assert len(re.findall(r"<tr id=", entries_)) == 1
        assert "key.use" in entries_


async def uses_of(plane: Pages, *ids: str) -> list[dict[str, Any]]:
    """What the audit has of the use of these keys, once it has something of each."""
    async with asyncio.timeout(10):
        while True:
            found = [one for one in await all_told(plane) if one["action"] == "key.use" and one["actor"] in ids]
            if {one["actor"] for one in found} == set(ids):
                return found
            await asyncio.sleep(0.05)


async def test_without_an_answer_no_use_of_a_key_is_said_to_be_none(plane: Pages) -> None:
    id_ = keys.parse_key(await new_key(plane)).id
    async with pages_of(console_beside(plane, GONE, "root-key")) as there:
        row = await row_of(there, id_)
    assert "unknown" in row
    assert "none recorded" not in row


# Roles


async def test_a_role_is_made_granted_revoked_and_deleted(plane: Pages) -> None:
    answer = await plane.post("/admin/roles", {"name": "auditor"}, ROOT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/roles/auditor")
    assert "This role gives nothing yet" in (await plane.get("/admin/roles/auditor", ROOT)).text
    rule = "team = 'plat''form' AND cost_center IN ('a', 'b')"
    form = {"class": "content", "dataset": "content", "where": rule}
    answer = await plane.post("/admin/roles/auditor/grant", {**form, "seen": seen(plane, "role", "auditor")}, ROOT)
    assert answer.status_code == 409 or answer.status_code == 400  # content has no cost_center
    assert "no dataset here has such a column" in answer.text
    assert "team = &#39;plat&#39;&#39;form&#39;" in answer.text
    form["where"] = "team = 'plat''form'"
    answer = await plane.post("/admin/roles/auditor/grant", {**form, "seen": seen(plane, "role", "auditor")}, ROOT)
    assert answer.status_code == 303
    page = (await plane.get("/admin/roles/auditor", ROOT)).text
    assert "<code>team = &#39;plat&#39;&#39;form&#39;</code>" in page
    (spelled,) = (str(one) for one in (await role_of(plane, "auditor")).grants)
    taken = {"grant": spelled, "seen": seen(plane, "role", "auditor")}
    assert (await plane.post("/admin/roles/auditor/revoke", taken, ROOT)).status_code == 303
    assert (await role_of(plane, "auditor")).grants == ()
    gone = {"seen": seen(plane, "role", "auditor")}
    answer = await plane.post("/admin/roles/auditor/delete", gone, ROOT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/roles")
    assert (await plane.get("/admin/roles/auditor", ROOT)).status_code == 404
    found = await told(plane, "auditor")
    assert [one["action"] for one in found] == ["role.grant", "role.grant", "role.revoke", "role.revoke"]
    assert {(one["actor"], one["client_address"]) for one in found} == {("root@example.com", "192.0.2.7")}


async def role_of(plane: Pages, name: str) -> Role:
    found = role_changes.all_of(plane.console.control)[name]
    assert found is not None
    return found


async def test_a_default_role_is_changed_and_put_back(plane: Pages) -> None:
    form = {"class": "person", "seen": seen(plane, "role", "viewer")}
    assert (await plane.post("/admin/roles/viewer/grant", form, ROOT)).status_code == 303
    assert "changed" in (await plane.get("/admin/roles/viewer", ROOT)).text
    form = {"seen": seen(plane, "role", "viewer")}
    assert (await plane.post("/admin/roles/viewer/delete", form, ROOT)).headers["location"] == "/admin/roles/viewer"
    assert await role_of(plane, "viewer") == DEFAULTS["viewer"]


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("", {"name": "Auditor"}, "a small letter, then small letters"),
        ("", {"name": ""}, "a small letter, then small letters"),
        ("", {"name": HOSTILE}, "a small letter, then small letters"),
        ("", {"name": "viewer"}, "there is a role viewer already"),
        ("/viewer/grant", {"class": "secrets"}, "there is no class &#39;secrets&#39;"),
        ("/viewer/grant", {"class": "usage", "dataset": "nothing"}, "there is no dataset &#39;nothing&#39;"),
        ("/viewer/grant", {"class": "usage", "where": "1 = 1"}, "where a column was expected"),
        ("/viewer/grant", {"class": "usage", "where": HOSTILE}, "cannot be read at character 1"),
        ("/viewer/grant", {"class": "usage"}, "has this grant already"),
        ("/admin/grant", {"class": "usage"}, "the role admin cannot be changed"),
        ("/viewer/revoke", {"grant": "content on every open dataset"}, "there is no such grant any more"),
        ("/analyst/delete", {}, "there is no role analyst to delete"),
    ],
)
async def test_a_change_that_makes_no_sense_says_why_at_its_form(
    plane: Pages, path: str, form: dict[str, str], words: str
) -> None:
    role = path.split("/")[1] if path else form["name"]
    answer = await plane.post(f"/admin/roles{path}", {"seen": seen(plane, "role", role), **form}, ROOT)
    assert answer.status_code == 400
    assert words in answer.text
    assert 'role="alert"' in answer.text
    assert "<script>alert" not in answer.text


async def test_two_admins_do_not_undo_each_others_change_of_a_role(plane: Pages) -> None:
    await plane.post("/admin/roles", {"name": "shared"}, ROOT)
    stale = seen(plane, "role", "shared")
    grants = [{"class": cls, "seen": stale} for cls in ("usage", "person", "detail")]
    answers = await asyncio.gather(*(plane.post("/admin/roles/shared/grant", one, ROOT) for one in grants))
    assert sorted(one.status_code for one in answers) == [303, 409, 409]
    lost = next(one for one in answers if one.status_code == 409)
    assert "role shared was changed meanwhile" in lost.text
    assert "by root@example.com" in lost.text
    won = await role_of(plane, "shared")
    assert (won.version, len(won.grants)) == (2, 1)
    # Also when it was done elsewhere, deleted and made anew.
    stale = seen(plane, "role", "shared")
    await role_changes.delete(*where(plane), ELSEWHERE, "shared")
    await role_changes.create(*where(plane), ELSEWHERE, "shared")
    answer = await plane.post("/admin/roles/shared/grant", {"class": "content", "seen": stale}, ROOT)
    assert answer.status_code == 409
    assert "by somebody else" in answer.text
    for value in ("", "x", "-1", "9" * 30):
        form = {"class": "content", "seen": value}
        assert (await plane.post("/admin/roles/shared/grant", form, ROOT)).status_code == 409
    await eventually(lambda: role_changes.all_of(plane.console.control)["shared"] == Role("shared", (), 1))


async def test_an_admin_of_one_tenant_sees_roles_and_changes_none(plane: Pages) -> None:
    page = (await plane.get("/admin/roles/viewer", ACME)).text
    assert "only an admin of all changes them" in page
    assert "/admin/roles/viewer/grant" not in page
    for path in ("", "/mine/grant", "/mine/revoke", "/mine/delete"):
        assert (await plane.post(f"/admin/roles{path}", {"name": "mine"}, ACME)).status_code == 403
    assert "mine" not in role_changes.all_of(plane.console.control)


async def test_an_admin_of_one_tenant_reads_of_others_nothing_in_a_role(plane: Pages) -> None:
    rules = {
        "tenant = 'acme' AND team = 'acme-core'": "tenant = 'acme' AND team = 'acme-core'",
        "tenant = 'globex' AND team = 'globex-core'": None,
        "tenant IN ('acme', 'globex') AND user_email = 'ann@globex.example'": "tenant = 'acme' AND user_email = …",
        "team IN ('globex-lab', 'acme-lab')": "team = …",
    }
    await role_changes.create(*where(plane), ELSEWHERE, "mixed")
    for rule in rules:
        await role_changes.grant(*where(plane), ELSEWHERE, "mixed", checked_grant("detail", ("events",), rule))
    await eventually(lambda: len(known_role(plane, "mixed").grants) == len(rules))
    for path in ("/admin/roles", "/admin/roles/mixed"):
        whole, own = [html.unescape((await plane.get(path, who)).text) for who in (ROOT, ACME)]
        for rule, shown in rules.items():
            assert rule in whole
            assert shown is None or shown in own
        assert "globex" not in own
        assert "acme-lab" not in own
    assert len(re.findall(r'<th scope="row">detail', own)) == 3


def known_role(plane: Pages, name: str) -> Role:
    return role_changes.all_of(plane.console.control)[name] or Role(name, ())


# Policies


async def test_a_policy_is_set_changed_and_deleted(plane: Pages) -> None:
    form = {"class.usage": "keep", "class.person": "hash", "class.detail": "drop", "class.content": "keep"}
    form |= {"tenant": "initech", "mask.detail": "on", "seen": "0"}
    answer = await plane.post("/admin/policies/change", form, ROOT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/policies?tenant=initech")
    made, whose = policies.in_force(plane.console.control, "initech")
    assert (whose, made.version, dict(made.classes)["person"]) == ("initech", 1, "hash")
    assert (made.masks("detail"), made.masks("content")) == (True, False)
    page = (await plane.get("/admin/policies?tenant=initech", ROOT)).text
    assert re.search(r'<option value="hash" selected', page)
    stale = seen(plane, "policy", "initech")
    await policies.change(*where(plane), ELSEWHERE, "initech", PolicyChange(fields={"user_email": "drop"}))
    answer = await plane.post("/admin/policies/change", {**form, "seen": stale, "class.usage": "drop"}, ROOT)
    assert answer.status_code == 409
    assert "policy initech was changed meanwhile" in answer.text
    await eventually(lambda: policies.in_force(plane.console.control, "initech")[0].version == 2)
    fresh = seen(plane, "policy", "initech")
    assert (await plane.post("/admin/policies/change", {**form, "seen": fresh}, ROOT)).status_code == 303
    changed, _ = policies.in_force(plane.console.control, "initech")
    assert (changed.version, dict(changed.fields)) == (3, {"user_email": "drop"})
    gone = {"tenant": "initech", "seen": seen(plane, "policy", "initech")}
    assert (await plane.post("/admin/policies/delete", gone, ROOT)).status_code == 303
    assert policies.in_force(plane.console.control, "initech")[1] == policy.EVERY_TENANT
    found = await told(plane, "policy initech")
    assert [one["actor"] for one in found] == ["root@example.com", "somebody else", *["root@example.com"] * 2]
    assert json.loads(found[-1]["detail"])["new"] is None


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"tenant": "acme", "class.usage": "burn"}, 400, "usage is &#39;burn&#39;"),
        ({"tenant": "a b"}, 409, "a tenant is 1 to 64 letters"),
        ({"tenant": HOSTILE}, 409, "a tenant is 1 to 64 letters"),
        ({"tenant": "acme", "seen": "7"}, 409, "was changed meanwhile"),
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused_at_the_form(
    plane: Pages, form: dict[str, str], status: int, words: str
) -> None:
    rest = {f"class.{cls}": "keep" for cls in ("usage", "person", "detail", "content")}
    answer = await plane.post("/admin/policies/change", {**rest, "seen": "0", **form}, ROOT)
    assert (answer.status_code, words in answer.text) == (status, True)
    assert "<script>alert" not in answer.text


async def test_an_admin_of_one_tenant_changes_its_own_policy_only(plane: Pages) -> None:
    rest = {f"class.{cls}": "drop" for cls in ("usage", "person", "detail", "content")}
    await policies.change(*where(plane), ELSEWHERE, "umbrella", PolicyChange(classes={"content": "drop"}))
    await eventually(lambda: "umbrella" in plane.console.control.records("policy"))
    before = len(await told(plane, "policy umbrella")) + len(await told(plane, "policy *"))
    for tenant in ("umbrella", "*"):
        for action in ("change", "delete"):
            form = {**rest, "tenant": tenant, "seen": seen(plane, "policy", tenant)}
            assert (await plane.post(f"/admin/policies/{action}", form, ACME)).status_code in (403, 409)
    assert len(await told(plane, "policy umbrella")) + len(await told(plane, "policy *")) == before
    page = (await plane.get("/admin/policies?tenant=umbrella", ACME)).text
    assert "umbrella" not in page.replace("?tenant=umbrella", "")
    form = {**rest, "tenant": "acme", "seen": seen(plane, "policy", "acme")}
    assert (await plane.post("/admin/policies/change", form, ACME)).status_code == 303
    await policies.change(*where(plane), ELSEWHERE, "acme", PolicyChange(), delete=True)


async def test_a_policy_or_rules_that_cannot_be_read_are_shown_as_that(plane: Pages) -> None:
    record = {**policy.control_value(policy.NONE, "broken", updated_at=1, updated_by="x"), "body": '{"classes": 7}'}
    rules = {**routing.control_value(routing.Routing((), 1), updated_at=1, updated_by="x"), "body": HOSTILE}
    for one in (record, rules):
        await audited(*where(plane), one, "policy.change", "policy broken", {}, ELSEWHERE)
    await eventually(lambda: plane.console.control.record("routing", "rules") is not None)
    answer = await plane.get("/admin/policies?tenant=broken", ROOT)
    assert answer.status_code == 200
    assert "classes must be an object" in answer.text
    assert "gateways keep to the last good rules" in answer.text
    await policies.change(*where(plane), ELSEWHERE, "broken", PolicyChange(), delete=True)


async def test_routing_rules_are_shown_with_their_version_and_to_one_tenant_only_its_own(plane: Pages) -> None:
    rules = routing.parse(
        {
            "rules": [
                {"name": "noise", "when": {"event": "hook_*"}, "route": "drop"},
                {"name": "theirs", "when": {"tenant": "globex", "team": HOSTILE}, "route": "archive"},
                {"name": "two", "when": {"tenant": ["acme", "globex"]}, "route": "archive"},
            ]
        }
    )
    value = routing.control_value(routing.Routing(rules.rules, 9), updated_at=2, updated_by="x")
    await audited(*where(plane), value, "routing.change", "version 9", {}, ELSEWHERE)
    await eventually(lambda: (plane.console.control.record("routing", "rules") or {}).get("updated_at") == 2)
    page = (await plane.get("/admin/policies", ROOT)).text
    assert "Version 9." in page
    assert page.index("noise") < page.index("theirs") < page.index(">two<")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    page = (await plane.get("/admin/policies", ACME)).text
    assert "noise" in page
    assert "theirs" not in page
    assert "globex" not in page


# Tenants and audit


async def test_tenants_are_those_of_keys_and_sessions(plane: Pages) -> None:
    await new_key(plane, tenant="only-a-key")
    page = (await plane.get("/admin/tenants", ROOT)).text
    for name in ("only-a-key", "acme", "globex", "o&#39;hare"):
        assert name in page
    page = (await plane.get("/admin/tenants", ACME)).text
    assert "acme" in page
    assert not re.search("globex|hare|only-a-key", page)


async def test_the_audit_is_for_whoever_has_its_grant(plane: Pages) -> None:
    for who in (ROOT, ACME, person("security", tenant="acme")):
        answer = await plane.get("/admin/audit", who)
        assert answer.status_code == 200
        assert "acme-auditor" in answer.text
        assert ("globex-auditor" in answer.text) == (who.tenant is None)
    for role in ("viewer", "analyst"):
        answer = await plane.get("/admin/audit", person(role, tenant="acme"))
        assert answer.status_code == 403
        assert "None of your roles gives you anything of audit" in answer.text


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hostile(tmp_path_factory: pytest.TempPathFactory, plane: Pages) -> AsyncIterator[Pages]:
    """Pages over a store whose audit and sessions have markup in every field, sixty entries of it."""
    fields = ("actor", "action", "target", "outcome", "reason", "detail", "client_address")
    said = [
        samples.audit(
            number,
            None,
            **{f: f"{HOSTILE} {f} {number}" for f in fields},
            actor_kind=HOSTILE,
            audit_id=f"{HOSTILE}{number}",
        )
        for number in range(60)
    ]
    sessions = [samples.session(1, tenant=HOSTILE)]
    async with served(tmp_path_factory.mktemp("hostile")) as (store, sql):
        await store.write([samples.batch("audit", said), samples.batch("sessions", sessions)])
        async with pages_of(console_beside(plane, sql.base, "root-key"), sql) as pages:
            yield pages


async def test_the_audit_is_paged_and_searched(hostile: Pages) -> None:
    first = (await hostile.get("/admin/audit", ROOT)).text
    assert len(re.findall(r"<tr id=", first)) == 50
    assert first.index("actor 59") < first.index("actor 58")
    assert "/admin/audit?page=2" in first
    second = (await hostile.get("/admin/audit?page=2", ROOT)).text
    assert len(re.findall(r"<tr id=", second)) == 10
    assert "Newer" in second
    assert "Older" not in second
    one = (await hostile.get("/admin/audit?actor=ACTOR+7&action=action", ROOT)).text
    assert len(re.findall(r"<tr id=", one)) == 1
    for query in ("actor='+OR+1=1+--", "target=%25", "action=_"):
        assert "No entry in this time range with these words" in (await hostile.get(f"/admin/audit?{query}", ROOT)).text
    early = "/admin/audit?from=2020-01-01T00:00Z&to=2020-01-02T00:00Z"
    assert "No entry in this time range." in (await hostile.get(early, ROOT)).text
    for query in ("page=0", "page=x", "page=99999999", "actor=" + "x" * 300, "page=%D9%A1"):
        assert (await hostile.get(f"/admin/audit?{query}", ROOT)).status_code == 400
    # A search is kept from page to page, and over a change of the range.
    kept = (await hostile.get("/admin/audit?actor=alert", ROOT)).text
    assert "page=2&amp;actor=alert" in kept or "actor=alert&amp;page=2" in kept
    assert re.search(r"range=7d&amp;actor=alert|actor=alert&amp;range=7d", kept)


async def test_a_search_of_the_audit_keeps_the_filter_that_is_shown(plane: Pages) -> None:
    page = (await plane.get("/admin/audit?range=7d&tenant=globex", ROOT)).text
    assert "Tenant: globex" in page
    (form,) = re.findall(
        r'<form method="get" action="/admin/audit" class="row admin-search">.*?</form>', page, re.DOTALL
    )
    asked = urlencode(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
    found = (await plane.get(f"/admin/audit?{asked}", ROOT)).text
    assert "globex-auditor" in found
    assert "acme-auditor" not in found


async def test_daily_uses_of_keys_are_listed_when_one_looks_for_them(tmp_path: Path) -> None:
    entries_ = [
        samples.audit(number, "acme", actor="a-key", target="a-key", action=action, audit_id=f"{action}-{number}")
        for number, action in enumerate(("key.create", "key.use", "key.use"))
    ]
    async with pages_over(tmp_path, audit=entries_) as pages:
        plain = (await pages.get("/admin/audit", ROOT)).text
        assert re.findall(r'<tr id="entry-([^"]+)"', plain) == ["key.create-0"]
        assert 'Without <a href="/admin/audit?action=key.use">the daily entry of each key that was used</a>' in plain
        for query, number in (("action=key.use", 2), ("actor=a-key", 3), ("target=a-key", 3), ("action=create", 1)):
            found = (await pages.get(f"/admin/audit?{query}", ROOT)).text
            assert len(re.findall(r"<tr id=", found)) == number, query
            assert "Without <a" not in found


async def test_markup_in_any_field_is_text(hostile: Pages) -> None:
    await keyring.put(
        hostile.console.kafka,
        hostile.console.settings.prefix,
        Who(HOSTILE),
        keyring.key_of(keys.new_key("query")[0], tenant=HOSTILE, name=HOSTILE, roles_=[HOSTILE]),
    )
    await eventually(lambda: HOSTILE in names(hostile))
    who = person("admin", id_=HOSTILE)
    for path in ("/admin/keys", "/admin/tenants", "/admin/roles", "/admin/audit", f"/admin/keys?q={HOSTILE}"):
        page = (await hostile.get(path, who)).text
        assert "&lt;script&gt;alert(1)" in page, path
        assert "<script>alert" not in page
        assert HOSTILE not in page
    assert (await hostile.get(f"/admin/roles/{HOSTILE}", who)).status_code == 404
    assert HOSTILE not in (await hostile.get(f"/admin/policies?tenant={HOSTILE}", who)).text


# Without Kafka


async def test_without_the_control_plane_nothing_is_said_to_be_missing(pages: Pages) -> None:
    for path in ("/admin/keys", "/admin/roles", "/admin/roles/viewer", "/admin/policies"):
        answer = await pages.get(path)
        assert answer.status_code == 503
        assert "the control plane is not read yet" in answer.text
        assert "There is no" not in answer.text


async def test_what_kafka_does_not_take_is_not_done_and_says_so(plane: Pages, kafka: Broker) -> None:
    prefix = f"c{uuid.uuid4().hex[:8]}"
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"]], prefix, "local")  # no audit topic: nothing may change
    console = console_over(plane.sql.base, "root-key", prefix=prefix)
    console.kafka, console.audit = kafka.kwargs, AuditLog(kafka.kwargs, prefix)
    console.control = ControlView()
    await console.control.start(kafka.kwargs, prefix)
    try:
        async with pages_of(console) as there:
            answer = await there.post("/admin/keys/create", {"kind": "ingest", "tenant": "acme", "name": ""}, ROOT)
            assert answer.status_code == 502
            assert "Nothing is changed: topic" in answer.text
            assert not KEY.search(answer.text)
            form = {"class": "person", "seen": "0"}
            assert (await there.post("/admin/roles/viewer/grant", form, ROOT)).status_code == 502
        assert console.control.keys() == []
    finally:
        await console.control.stop()
        await console.audit.close()


async def test_a_sign_in_is_told_to_the_audit(plane: Pages) -> None:
    await plane.http.get("/signin/link?token=made-up")
    await plane.http.get(link("", SECRET))
    plane.http.cookies.clear()

    found = await all_told(plane)
    said = [(e["actor"], e["outcome"], e["reason"], e["client_address"]) for e in found if e["action"] == "signin"]
    assert ("unknown", "refused", "bad_link", "192.0.2.7") in said
    assert ("local", "done", None, "192.0.2.7") in said
