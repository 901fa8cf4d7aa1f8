"""Connect, version, create, list, describe, has, drop, timestamps: what an application does first, through any node."""

import pytest
from conftest import book_schema
from local_cluster import CALL_SECONDS
from pymilvus import DataType, MilvusClient, MilvusException

LOGICAL_BITS = 18  # of a timestamp; the rest is physical milliseconds


def test_a_client_connects_and_asks_for_the_version(cluster, node):
    client = MilvusClient(uri=cluster.uri(node), timeout=CALL_SECONDS)
    assert client.get_server_version(timeout=CALL_SECONDS)


def test_a_new_collection_is_at_once_on_every_node(create, client, others, name):
    create(name)
    for reader in [client, *others]:
        assert name in reader.list_collections(timeout=CALL_SECONDS)
        assert reader.has_collection(name, timeout=CALL_SECONDS)


def test_every_node_describes_a_collection_alike(create, client, others, name):
    schema = MilvusClient.create_schema(auto_id=True, enable_dynamic_field=False, description="all sorts")
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("count", DataType.INT32, nullable=True)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=16, max_length=32)
    schema.add_field("extra", DataType.JSON)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=768)
    schema.add_field("binary", DataType.BINARY_VECTOR, dim=64)
    create(name, schema, num_shards=2, consistency_level="Strong", properties={"collection.ttl.seconds": "60"})
    described = client.describe_collection(name, timeout=CALL_SECONDS)
    fields = {field["name"]: field for field in described["fields"]}
    assert list(fields) == ["key", "count", "tags", "extra", "dense", "binary"]
    assert fields["key"]["is_primary"] and fields["key"]["params"]["max_length"] == 64
    assert fields["dense"]["type"] == DataType.FLOAT_VECTOR and fields["dense"]["params"]["dim"] == 768
    assert fields["tags"]["element_type"] == DataType.VARCHAR
    assert described["description"] == "all sorts" and described["num_shards"] == 2
    assert described["auto_id"] and not described["enable_dynamic_field"]
    assert described["collection_id"] > 0 and described["created_timestamp"] > 0
    assert described["properties"].get("collection.ttl.seconds") == "60"
    for reader in others:
        assert reader.describe_collection(name, timeout=CALL_SECONDS) == described


def test_creating_the_same_collection_again_is_one_creation(create, client, others, name):
    create(name)
    first = client.describe_collection(name, timeout=CALL_SECONDS)
    for again in [client, *others]:
        again.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
        assert again.describe_collection(name, timeout=CALL_SECONDS)["collection_id"] == first["collection_id"]


def test_it_is_still_the_same_one_after_a_partition_was_added(create, client, others, name):
    create(name)
    client.create_partition(name, "more", timeout=CALL_SECONDS)
    for again in [client, *others]:
        again.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
        assert again.list_partitions(name, timeout=CALL_SECONDS) == ["_default", "more"]


def test_what_writes_is_in_the_audit_log_also_without_authorization(cluster, create, client, name):
    create(name)
    with pytest.raises(MilvusException):
        client.drop_partition(name, "_default", timeout=CALL_SECONDS)
    lines = [line for line in cluster.logs().splitlines() if " audit" in line and name in line]
    assert any('method="CreateCollection"' in line and 'outcome="done"' in line for line in lines), lines
    assert any('method="DropPartition"' in line and 'outcome="refused"' in line for line in lines), lines
    assert not any("DescribeCollection" in line for line in lines), lines


def test_a_dropped_collection_is_gone_from_every_node(create, drop, client, others, name):
    create(name)
    drop(name)
    for reader in [client, *others]:
        assert name not in reader.list_collections(timeout=CALL_SECONDS)
        assert not reader.has_collection(name, timeout=CALL_SECONDS)
        with pytest.raises(MilvusException) as error:
            reader.describe_collection(name, timeout=CALL_SECONDS)
        assert error.value.code == 100
        assert f"collection not found[database=default][collection={name}]" in error.value.message
    # Dropping what is not there succeeds, as in Milvus.
    drop(name)


def test_a_name_can_be_used_again_and_means_another_collection(create, drop, client, name):
    create(name)
    first = client.describe_collection(name, timeout=CALL_SECONDS)["collection_id"]
    drop(name)
    create(name)
    assert client.describe_collection(name, timeout=CALL_SECONDS)["collection_id"] > first


def test_timestamps_grow_whatever_node_is_asked(client, others):
    """A's answer came before B's call, so A < B."""
    stamps = []
    for _ in range(30):
        for source in [client, *others]:
            stamps.append(source._get_connection().alloc_timestamp(timeout=CALL_SECONDS))
    assert stamps == sorted(set(stamps))
    assert stamps[0] >> LOGICAL_BITS > 1_700_000_000_000, "the physical part is milliseconds since 1970"


def test_nothing_acknowledged_is_lost(cluster, client):
    listed = set(client.list_collections(timeout=CALL_SECONDS))
    assert cluster.acknowledged <= listed, f"lost: {sorted(cluster.acknowledged - listed)}"
