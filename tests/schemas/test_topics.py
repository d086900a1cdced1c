"""The topic catalogue, keys and partitions."""

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import CATALOGUE, full_name, make_key, partition_for, split_key

# From Kafka's own tests: clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
KAFKA_MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), KAFKA_MURMUR2.items())
def test_murmur2_is_kafkas(key: bytes, expected: int) -> None:
    assert murmur2(key) & 0xFFFFFFFF == expected & 0xFFFFFFFF
    assert partition_for(key, 32) == (expected & 0x7FFFFFFF) % 32


def test_the_catalogue_is_the_designs() -> None:
    day = 86_400_000
    assert {
        name: (topic.config["cleanup.policy"], int(topic.config["retention.ms"])) for name, topic in CATALOGUE.items()
    } == {
        "events": ("delete", 30 * day),
        "content": ("delete", 7 * day),
        "metrics": ("delete", 30 * day),
        "spans": ("delete", 7 * day),
        "rejected": ("delete", 7 * day),
        "sessions": ("compact", -1),
        "session-hours": ("compact,delete", 60 * day),
        "user-windows": ("compact", -1),
        "control": ("compact", -1),
        "audit": ("delete", 400 * day),
    }


def test_sizes_of_one_machine_and_of_a_cluster() -> None:
    for name, topic in CATALOGUE.items():
        single = name in ("control", "audit")
        sizes = [topic.sizing(profile) for profile in ("local", "cluster")]
        assert [(s.partitions, s.replication, s.min_insync) for s in sizes] == [
            (1 if single else 4, 1, 1),
            (1 if single else 32, 3, 2),
        ]
        assert topic.kafka_config("cluster")["min.insync.replicas"] == "2"


def test_compacted_topics_keep_every_version_for_a_while() -> None:
    for topic in CATALOGUE.values():
        if "compact" in topic.config["cleanup.policy"]:
            assert int(topic.config["min.compaction.lag.ms"]) >= 3_600_000


def test_full_names() -> None:
    assert full_name("claude", "session-hours") == "claude.session-hours.v1"
    with pytest.raises(KeyError):
        full_name("claude", "nothing")


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x1f")), min_size=1))
def test_keys_come_apart_as_they_were_put_together(parts: list[str]) -> None:
    assert split_key(make_key(*parts)) == parts


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",))), min_size=1))
def test_a_part_cannot_forge_a_boundary(parts: list[str]) -> None:
    assert len(split_key(make_key(*parts))) == len(parts)


@given(st.binary(), st.integers(1, 1000))
def test_partitions_are_in_range(key: bytes, count: int) -> None:
    assert 0 <= partition_for(key, count) < count
