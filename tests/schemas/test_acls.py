from pathlib import Path

from schemas import acls
from schemas.topics import CATALOGUE
from sinks.lake.tables import TABLES as LAKE_TABLES
from sinks.query.tables import TOPICS

DOCUMENT = Path(__file__).parents[2] / "docs" / "access.md"


def test_the_document_is_what_the_code_says() -> None:
    """If not: .venv/bin/millrace topics acls --table > docs/access.md"""
    assert DOCUMENT.read_text() == acls.document()


def test_every_topic_has_a_writer_and_a_reader() -> None:
    for name in CATALOGUE:
        assert any(name in process.writes for process in acls.PROCESSES.values()), name
        assert any(name in process.reads for process in acls.PROCESSES.values()), name
    named = {name for process in acls.PROCESSES.values() for name in (*process.reads, *process.writes)}
    assert named == set(CATALOGUE)


def test_the_sinks_may_read_what_they_store() -> None:
    stored = {*TOPICS, *(table.topic for table in LAKE_TABLES)}
    assert set(acls.PROCESSES["sinks"].reads) == stored | {"control"}


def test_what_was_said_and_the_control_plane_are_for_few() -> None:
    readers = {
        topic: {name for name, process in acls.PROCESSES.items() if topic in process.reads}
        for topic in ("content", "rejected", "control", "audit")
    }
    assert readers == {
        "content": {"sinks", "content-reader"},
        "rejected": {"sinks"},
        "control": {"gateway", "sinks", "cli", "console"},
        "audit": {"sinks"},
    }
    writers = {
        topic: {name for name, process in acls.PROCESSES.items() if topic in process.writes}
        for topic in ("control", "audit")
    }
    assert writers == {"control": {"cli", "console"}, "audit": {"sinks", "cli", "console"}}
    # By no prefix either: topics of one's own begin otherwise than those of the catalogue.
    for process in acls.PROCESSES:
        for acl in acls.acls(process, "claude"):
            if acl.prefixed and acl.resource == "topic":
                assert not [name for name in CATALOGUE if f"claude.{name}.v1".startswith(acl.names[0])]
            assert not {"All", "Alter", "Delete", "AlterConfigs"} & set(acl.operations)
