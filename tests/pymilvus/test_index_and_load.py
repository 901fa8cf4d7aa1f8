"""Indexes and loads of collections without data, as MilvusClient, its async twin and the ORM ask for them."""

import asyncio
import time

import pytest
from local_cluster import CALL_SECONDS
from pymilvus import AsyncMilvusClient, Collection, DataType, MilvusClient, MilvusException, connections
from pymilvus.client.types import LoadState

REFUSED_SECONDS = 3.0  # far below what retries would take


def index_params(field="embedding", index_type="AUTOINDEX", metric_type="COSINE", **params):
    """Of one index."""
    params_of = MilvusClient.prepare_index_params()
    params_of.add_index(field, index_type=index_type, metric_type=metric_type, **params)
    return params_of


def state(client, name, partition=""):
    return client.get_load_state(name, partition_name=partition, timeout=CALL_SECONDS)["state"]


def refused(code, work):
    """The text of a call that must fail at once with this code."""
    started = time.monotonic()
    with pytest.raises(MilvusException) as error:
        work()
    assert error.value.code == code, error.value
    assert time.monotonic() - started < REFUSED_SECONDS
    return error.value.message


@pytest.fixture
def loaded(create, client, name):
    """A loaded collection with one index."""
    create(name, index_params=index_params())
    return name


def test_the_quick_way_ends_with_a_loaded_collection(cluster, client, others, name):
    client.create_collection(name, dimension=8, timeout=CALL_SECONDS)
    cluster.acknowledged.add(name)
    for reader in [client, *others]:
        assert reader.list_indexes(name, timeout=CALL_SECONDS) == ["vector"]
        described = reader.describe_index(name, "vector", timeout=CALL_SECONDS)
        assert described["index_type"] == "AUTOINDEX" and described["metric_type"] == "COSINE"
        assert described["field_name"] == "vector" and described["state"] == "Finished"
        assert (described["total_rows"], described["indexed_rows"], described["pending_index_rows"]) == (0, 0, 0)
        assert state(reader, name) == LoadState.Loaded


def test_a_schema_with_index_params_too(loaded, client, others):
    for reader in [client, *others]:
        assert state(reader, loaded) == LoadState.Loaded
        assert reader.describe_index(loaded, "embedding", timeout=CALL_SECONDS)["index_name"] == "embedding"


def test_an_index_is_made_once_and_dropped_once_released(create, client, others, name):
    create(name)
    params = index_params(index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 64})
    for again in [client, *others]:
        again.create_index(name, params, timeout=CALL_SECONDS)
    described = client.describe_index(name, "embedding", timeout=CALL_SECONDS)
    assert described["index_type"] == "HNSW" and described["M"] == "16" and described["efConstruction"] == "64"
    assert len(client.list_indexes(name, timeout=CALL_SECONDS)) == 1

    client.load_collection(name, timeout=CALL_SECONDS)
    text = refused(1100, lambda: client.drop_index(name, "embedding", timeout=CALL_SECONDS))
    assert "vector index cannot be dropped on loaded collection" in text
    client.release_collection(name, timeout=CALL_SECONDS)
    client.drop_index(name, "embedding", timeout=CALL_SECONDS)
    client.drop_index(name, "embedding", timeout=CALL_SECONDS)  # a missing one is a success
    for reader in [client, *others]:
        assert reader.list_indexes(name, timeout=CALL_SECONDS) == []
        assert reader.describe_index(name, "embedding", timeout=CALL_SECONDS) is None


def test_properties_of_an_index_change_while_it_is_released(loaded, client):
    def mapped(value):
        client.alter_index_properties(loaded, "embedding", {"mmap.enabled": value}, timeout=CALL_SECONDS)

    assert "can't alter index on loaded collection" in refused(104, lambda: mapped(True))
    client.release_collection(loaded, timeout=CALL_SECONDS)
    mapped(True)
    described = client.describe_index(loaded, "embedding", timeout=CALL_SECONDS)
    assert described["mmap.enabled"].lower() == "true"
    client.drop_index_properties(loaded, "embedding", ["mmap.enabled"], timeout=CALL_SECONDS)
    assert "mmap.enabled" not in client.describe_index(loaded, "embedding", timeout=CALL_SECONDS)


def test_scalar_and_sparse_and_binary_indexes(create, client, name):
    schema = MilvusClient.create_schema(auto_id=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("binary", DataType.BINARY_VECTOR, dim=64)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("title", DataType.VARCHAR, max_length=64)
    schema.add_field("doc", DataType.JSON)
    params = MilvusClient.prepare_index_params()
    params.add_index("binary", index_type="BIN_IVF_FLAT", metric_type="JACCARD", params={"nlist": 16})
    params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    params.add_index("title", index_type="INVERTED")
    params.add_index("doc", index_type="INVERTED", index_name="color",
                     params={"json_path": 'doc["color"]', "json_cast_type": "varchar"})
    params.add_index("doc", index_type="INVERTED", index_name="size",
                     params={"json_path": 'doc["size"]', "json_cast_type": "double"})
    create(name, schema, index_params=params)
    assert sorted(client.list_indexes(name, timeout=CALL_SECONDS)) == ["binary", "color", "size", "sparse", "title"]
    assert client.list_indexes(name, field_name="doc", timeout=CALL_SECONDS) == ["color", "size"]
    assert state(client, name) == LoadState.Loaded


def test_partitions_are_loaded_and_released_one_by_one(create, client, others, name):
    create(name)
    client.create_partition(name, "p", timeout=CALL_SECONDS)
    client.create_index(name, index_params(), timeout=CALL_SECONDS)
    client.load_partitions(name, ["p"], timeout=CALL_SECONDS)
    for reader in [client, *others]:
        assert state(reader, name, "p") == LoadState.Loaded
        assert state(reader, name, "_default") == LoadState.NotLoad
    text = refused(1100, lambda: client.drop_partition(name, "p", timeout=CALL_SECONDS))
    assert "partition cannot be dropped, partition is loaded, please release it first" in text
    client.load_collection(name, timeout=CALL_SECONDS)
    client.release_partitions(name, ["p"], timeout=CALL_SECONDS)
    assert state(client, name, "p") == LoadState.NotLoad
    client.drop_partition(name, "p", timeout=CALL_SECONDS)
    assert state(client, name, "_default") == LoadState.Loaded
    client.release_partitions(name, ["_default"], timeout=CALL_SECONDS)
    assert state(client, name) == LoadState.NotLoad


def test_an_alias_is_as_good_as_the_name(loaded, client):
    alias = loaded + "_alias"
    client.create_alias(loaded, alias, timeout=CALL_SECONDS)
    assert client.list_indexes(alias, timeout=CALL_SECONDS) == ["embedding"]
    assert state(client, alias) == LoadState.Loaded
    client.release_collection(alias, timeout=CALL_SECONDS)
    assert state(client, loaded) == LoadState.NotLoad
    client.drop_alias(alias, timeout=CALL_SECONDS)


def test_loading_again_refreshes_or_changes_the_replicas(loaded, client):
    client.refresh_load(loaded, timeout=CALL_SECONDS)
    assert len(client.describe_replica(loaded, timeout=CALL_SECONDS)) == 1
    client.load_collection(loaded, replica_number=2, timeout=CALL_SECONDS)
    replicas = client.describe_replica(loaded, timeout=CALL_SECONDS)
    assert {replica.resource_group for replica in replicas} == {"__default_resource_group"} and len(replicas) == 2
    text = refused(1100, lambda: client.load_partitions(loaded, ["_default"], replica_number=1, timeout=CALL_SECONDS))
    assert "can't change the replica number for loaded partitions" in text


def test_a_dropped_collection_takes_its_index_with_it(loaded, create, drop, client):
    drop(loaded)
    assert state(client, loaded) == LoadState.NotExist
    create(loaded)
    assert client.list_indexes(loaded, timeout=CALL_SECONDS) == []
    assert state(client, loaded) == LoadState.NotLoad


def test_flush_of_a_collection_without_data_is_done_at_once(loaded, client):
    client.flush(loaded, timeout=CALL_SECONDS)
    assert "collection not found" in refused(100, lambda: client.flush("nowhere", timeout=CALL_SECONDS))


def test_the_async_client(cluster, node, name):
    async def work():
        client = AsyncMilvusClient(uri=cluster.uri(node), timeout=CALL_SECONDS)
        try:
            await client.create_collection(name, dimension=8, timeout=CALL_SECONDS)
            assert await client.list_indexes(name, timeout=CALL_SECONDS) == ["vector"]
            assert (await client.get_load_state(name, timeout=CALL_SECONDS))["state"] == LoadState.Loaded
            await client.release_collection(name, timeout=CALL_SECONDS)
            await client.drop_index(name, "vector", timeout=CALL_SECONDS)
        finally:
            await client.close()

    asyncio.run(work())
    cluster.acknowledged.add(name)


def test_the_orm(create, cluster, node, name):
    create(name)
    connections.connect(name, uri=cluster.uri(node), timeout=CALL_SECONDS)
    try:
        collection = Collection(name, using=name)
        assert not collection.has_index(timeout=CALL_SECONDS)
        params = {"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 8}}
        collection.create_index("embedding", params, timeout=CALL_SECONDS)
        assert collection.has_index(timeout=CALL_SECONDS)
        assert collection.index(timeout=CALL_SECONDS).params == params
        collection.load(timeout=CALL_SECONDS)
        collection.release(timeout=CALL_SECONDS)
        collection.drop_index(timeout=CALL_SECONDS)
        assert not collection.has_index(timeout=CALL_SECONDS)
    finally:
        connections.disconnect(name)


INDEXES = [
    ("type", 1100, {"index_type": "NONSENSE"}, "invalid index type: NONSENSE"),
    ("metric", 1100, {"metric_type": "HAMMING"}, "float vector index does not support metric type: HAMMING"),
    ("no metric", 1100, {"index_type": "HNSW", "metric_type": ""}, "float vector index does not support metric type: "),
    ("range", 1100, {"index_type": "HNSW", "params": {"M": 1}}, "param 'M' (1) should be in range [2, 2048]"),
    ("number", 1100, {"index_type": "IVF_FLAT", "params": {"nlist": "many"}}, "invalid integer value, key: 'nlist'"),
    ("auto", 1100, {"params": {"nlist": 8}}, "only metric type can be passed when use AutoIndex"),
    ("kind", 1100, {"index_type": "BIN_FLAT"}, "data type FloatVector can't build with this index BIN_FLAT"),
    ("scalar", 1100, {"field": "title", "index_type": "STL_SORT", "index_name": "1st"}, "Invalid index name: 1st."),
    ("on text", 1100, {"field": "title", "index_type": "HNSW"}, "index HNSW only supports vector data type"),
    ("bitmap", 1100, {"field": "id", "index_type": "BITMAP"}, "create bitmap index on primary key not supported"),
]


@pytest.mark.parametrize(("code", "asked", "text"), [row[1:] for row in INDEXES], ids=[row[0] for row in INDEXES])
def test_bad_indexes(create, client, name, code, asked, text):
    create(name)
    params = index_params(**asked)
    assert text in refused(code, lambda: client.create_index(name, params, timeout=CALL_SECONDS))
    assert client.list_indexes(name, timeout=CALL_SECONDS) == []


def test_another_index_on_a_field_that_has_one(loaded, client):
    other = index_params(index_type="HNSW", metric_type="L2")
    text = refused(1100, lambda: client.create_index(loaded, other, timeout=CALL_SECONDS))
    assert "at most one distinct index is allowed per field" in text
    named = index_params(index_type="HNSW", metric_type="L2", index_name="second")
    text = refused(1100, lambda: client.create_index(loaded, named, timeout=CALL_SECONDS))
    assert "creating multiple indexes on same field is not supported" in text


def test_bad_loads(create, client, name):
    create(name)
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("one", DataType.FLOAT_VECTOR, dim=8)
    schema.add_field("two", DataType.FLOAT_VECTOR, dim=8)
    half = name + "_half"
    create(half, schema)
    client.create_index(half, index_params("one"), timeout=CALL_SECONDS)

    def load(collection, **options):
        return lambda: client.load_collection(collection, timeout=CALL_SECONDS, **options)

    assert f"index not found[collection={name}]" in refused(700, load(name))
    text = refused(1100, load(half))
    assert "there is no vector index on field: [two], please create index firstly" in text
    assert "does not contain primary key field id" in refused(1100, load(half, load_fields=["one"]))
    assert "resource group not found[rg=rg]" in refused(300, load(half, resource_groups=["rg"]))
    assert "collection not found" in refused(100, load("nowhere"))
    client.load_collection(half, load_fields=["id", "one"], timeout=CALL_SECONDS)
    assert state(client, half) == LoadState.Loaded
    text = refused(200, lambda: client.load_partitions(half, ["p"], timeout=CALL_SECONDS))
    assert "partition not found[partition=p]" in text
    client.release_collection(name, timeout=CALL_SECONDS)  # what is not loaded is released
    connection = client._get_connection()
    text = refused(101, lambda: connection.get_loading_progress(name, timeout=CALL_SECONDS))
    assert "collection not loaded" in text


def test_how_data_is_brought_into_memory_does_not_change_while_it_is_there(loaded, client, others):
    for through in [client, *others]:
        text = refused(104, lambda: through.alter_collection_properties(
            loaded, {"mmap.enabled": "true"}, timeout=CALL_SECONDS))
        assert "can not alter mmap properties if collection loaded" in text
        refused(104, lambda: through.alter_collection_field(
            loaded, "embedding", {"mmap.enabled": "true"}, timeout=CALL_SECONDS))
    client.release_collection(loaded, timeout=CALL_SECONDS)
    client.alter_collection_properties(loaded, {"mmap.enabled": "true"}, timeout=CALL_SECONDS)
    client.alter_collection_field(loaded, "embedding", {"mmap.enabled": "true"}, timeout=CALL_SECONDS)
    client.load_collection(loaded, timeout=CALL_SECONDS)
    text = refused(104, lambda: client.drop_collection_properties(loaded, ["mmap.enabled"], timeout=CALL_SECONDS))
    assert "can not delete mmap properties if collection loaded" in text


def test_isolation_is_decided_before_there_is_a_vector_index(create, client, name):
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("tenant", DataType.INT64, is_partition_key=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=8)
    create(name, schema, properties={"partitionkey.isolation": "true"})
    client.create_index(name, index_params(), timeout=CALL_SECONDS)

    def isolated(value):
        client.alter_collection_properties(name, {"partitionkey.isolation": value}, timeout=CALL_SECONDS)

    assert "already has a vector index" in refused(702, lambda: isolated("false"))
    isolated("true")
    client.drop_index(name, "embedding", timeout=CALL_SECONDS)
    isolated("false")


def test_a_load_that_says_nothing_takes_what_its_database_says(cluster, node, client, name):
    database = f"{name}_db"
    client.create_database(database, properties={"database.replica.number": "2"}, timeout=CALL_SECONDS)
    there = MilvusClient(uri=cluster.uri(node), db_name=database, timeout=CALL_SECONDS)
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=8)
    there.create_collection(name, schema=schema, timeout=CALL_SECONDS)
    there.create_index(name, index_params(), timeout=CALL_SECONDS)
    there.load_collection(name, replica_number=0, timeout=CALL_SECONDS)
    assert len(there.describe_replica(name, timeout=CALL_SECONDS)) == 2
    there.drop_collection(name, timeout=CALL_SECONDS)
    client.drop_database(database, timeout=CALL_SECONDS)
