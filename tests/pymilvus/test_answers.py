"""What pymilvus' clients make of the answers: all parts of a description, shapes, the calls of each client."""

import asyncio

import pytest
from conftest import book_schema
from local_cluster import CALL_SECONDS
from pymilvus import (
    AnnSearchRequest, AsyncMilvusClient, Collection, DataType, MilvusClient, Partition, RRFRanker, connections, db,
    utility,
)
from pymilvus.client.types import LoadState

INDEX = {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8, "efConstruction": 32}}


def index_params(field="embedding", **index):
    params = MilvusClient.prepare_index_params()
    params.add_index(field, **(index or INDEX))
    return params


@pytest.fixture
def orm(cluster, node):
    """The name of an ORM connection to the node."""
    alias = f"answers_{node}"
    connections.connect(alias, uri=cluster.uri(node), timeout=CALL_SECONDS)
    yield alias
    connections.remove_connection(alias)


@pytest.fixture
def asynchronously(cluster, node):
    """Runs `work(call)`, where `call("method", ...)` asks pymilvus' asynchronous client."""

    def run(work):
        async def session():
            client = AsyncMilvusClient(uri=cluster.uri(node), timeout=CALL_SECONDS)
            try:
                await work(lambda name, *args, **options: getattr(client, name)(*args, timeout=CALL_SECONDS, **options))
            finally:
                await client.close()

        asyncio.run(session())

    return run


def test_the_server_says_what_it_is(client, orm):
    version = client.get_server_version(timeout=CALL_SECONDS)
    assert version.startswith("2.6.") and utility.get_server_version(using=orm, timeout=CALL_SECONDS) == version
    assert client.get_server_type() == utility.get_server_type(using=orm) == "milvus"


def test_a_description_in_full(create, caller, client, name):
    create(name)
    client.create_alias(name, f"{name}_b", timeout=CALL_SECONDS)
    client.create_alias(name, f"{name}_a", timeout=CALL_SECONDS)
    found = caller.describe_collection(name)
    created, updated, collection_id = (found[key] for key in ("created_timestamp", "update_timestamp", "collection_id"))
    assert all(type(each) is int and each > 0 for each in (created, updated, collection_id)) and created <= updated
    told = {
        "collection_name": name,
        "auto_id": False,
        "num_shards": 1,
        "description": "books",
        "fields": [
            {
                "field_id": 100, "name": "id", "description": "", "type": DataType.INT64, "params": {},
                "is_primary": True,
            },
            {
                "field_id": 101, "name": "title", "description": "", "type": DataType.VARCHAR,
                "params": {"max_length": 200},
            },
            {
                "field_id": 102, "name": "embedding", "description": "", "type": DataType.FLOAT_VECTOR,
                "params": {"dim": 8},
            },
        ],
        "functions": [],
        "aliases": [f"{name}_a", f"{name}_b"],
        "consistency_level": 2,
        "consistency_level_name": "Bounded",
        "properties": {"timezone": "UTC"},
        "num_partitions": 1,
        "enable_dynamic_field": True,
    }
    assert {key: found[key] for key in told} == told


def test_what_there_is_of_data_is_nothing(create, client, orm, asynchronously, refused, name):
    create(name, index_params=index_params())
    missing = f"{name}_missing"
    for call in (client.list_persistent_segments, client.list_loaded_segments):
        assert call(name, timeout=CALL_SECONDS) == []
        assert "collection not found" in refused(100, lambda: call(missing, timeout=CALL_SECONDS))
    assert utility.get_query_segment_info(name, timeout=CALL_SECONDS, using=orm) == []
    client.flush_all(timeout=CALL_SECONDS)
    utility.flush_all(using=orm, timeout=CALL_SECONDS)
    Collection(name, using=orm).flush(timeout=CALL_SECONDS)

    async def work(call):
        assert await call("list_persistent_segments", name) == []
        await call("flush", name)

    asynchronously(work)


def test_what_roost_does_not_serve_is_refused_at_once_and_by_name(create, client, orm, asynchronously, refused, name):
    create(name, index_params=index_params())
    ann = AnnSearchRequest([[0.0] * 8], "embedding", {}, 1)
    options = {"timeout": CALL_SECONDS}
    calls = {
        "ManualCompaction": lambda: client.compact(name, **options),
        "GetCompactionState": lambda: client.get_compaction_state(1, **options),
        "GetCompactionStateWithPlans": lambda: client.get_compaction_plans(1, **options),
        "CreateResourceGroup": lambda: client.create_resource_group("group", **options),
        "UpdateResourceGroups": lambda: client.update_resource_groups({}, **options),
        "ListResourceGroups": lambda: client.list_resource_groups(**options),
        "DescribeResourceGroup": lambda: client.describe_resource_group("group", **options),
        "DropResourceGroup": lambda: client.drop_resource_group("group", **options),
        "TransferReplica": lambda: client.transfer_replica("a", "b", name, 1, **options),
        "TransferNode": lambda: utility.transfer_node("a", "b", 1, using=orm, **options),
        "LoadBalance": lambda: utility.load_balance(name, 1, [2], [3], using=orm, **options),
        "Import": lambda: utility.do_bulk_insert(name, ["rows.json"], using=orm, **options),
        "GetImportState": lambda: utility.get_bulk_insert_state(1, using=orm, **options),
        "ListImportTasks": lambda: utility.list_bulk_insert_tasks(using=orm, **options),
        "HybridSearch": lambda: client.hybrid_search(name, [ann], RRFRanker(), **options),
        "RunAnalyzer": lambda: client.run_analyzer("text", {"type": "english"}, **options),
    }
    for method, call in calls.items():
        assert refused(10, call).startswith(f"{method} is "), method

    def asked(method, *arguments):
        async def work(call):
            await call(method, *arguments)

        return lambda: asynchronously(work)

    row = {"id": 1, "title": "one", "embedding": [0.0] * 8}
    for method, *arguments in [("compact", name), ("list_resource_groups",), ("insert", name, [row])]:
        assert "Roost" in refused(10, asked(method, *arguments)), method


def test_each_call_of_the_async_client_about_indexes_loads_and_partitions(create, asynchronously, name):
    create(name)

    async def work(call):
        await call("create_index", name, index_params())
        assert await call("list_indexes", name) == ["embedding"]
        described = await call("describe_index", name, "embedding")
        assert (described["index_type"], described["M"], described["state"]) == ("HNSW", "8", "Finished")
        await call("alter_index_properties", name, "embedding", {"mmap.enabled": True})
        await call("drop_index_properties", name, "embedding", ["mmap.enabled"])
        await call("create_partition", name, "p")
        assert await call("list_partitions", name) == ["_default", "p"] and await call("has_partition", name, "p")
        assert await call("get_partition_stats", name, "p") == {"row_count": 0}
        await call("load_partitions", name, ["p"])
        assert (await call("get_load_state", name, partition_names=["_default"]))["state"] == LoadState.NotLoad
        await call("release_partitions", name, ["p"])
        await call("load_collection", name)
        await call("refresh_load", name)
        assert len(await call("describe_replica", name)) == 1
        await call("release_collection", name)
        await call("drop_partition", name, "p")
        await call("alter_collection_properties", name, {"collection.ttl.seconds": 60})
        await call("drop_collection_properties", name, ["collection.ttl.seconds"])
        await call("drop_index", name, "embedding")
        assert await call("describe_index", name, "embedding") is None
        assert await call("has_collection", name) and name in await call("list_collections")
        assert (await call("describe_collection", name))["properties"] == {"timezone": "UTC"}

    asynchronously(work)


def test_each_call_of_the_orm_about_a_collection(create, orm, refused, name):
    create(name)
    options = {"using": orm, "timeout": CALL_SECONDS}
    collection = Collection(name, using=orm)
    assert (collection.num_shards, collection.primary_field.name, collection.aliases) == (1, "id", [])
    assert collection.is_empty and collection.indexes == []
    collection.create_index("embedding", INDEX, index_name="own", timeout=CALL_SECONDS)
    assert [(index.field_name, index.index_name, index.params) for index in collection.indexes] == [
        ("embedding", "own", INDEX)
    ]
    assert utility.list_indexes(name, **options) == ["own"]
    rows = {"total_rows": 0, "indexed_rows": 0, "pending_index_rows": 0, "state": "Finished"}
    assert utility.index_building_progress(name, "own", **options) == rows
    assert utility.wait_for_index_building_complete(name, "own", **options)
    collection.alter_index("own", {"mmap.enabled": True}, timeout=CALL_SECONDS)
    assert "collection not loaded" in refused(101, lambda: utility.loading_progress(name, **options))
    collection.load(timeout=CALL_SECONDS)
    utility.wait_for_loading_complete(name, **options)
    assert utility.loading_progress(name, **options) == {"loading_progress": "100%"}
    assert utility.load_state(name, **options) == LoadState.Loaded
    assert len(collection.get_replicas(timeout=CALL_SECONDS).groups) == 1
    collection.release(timeout=CALL_SECONDS)
    partition = Partition(collection, "p")
    partition.load(timeout=CALL_SECONDS)
    assert len(partition.get_replicas(timeout=CALL_SECONDS).groups) == 1
    partition.release(timeout=CALL_SECONDS)
    assert collection.partition("p").is_empty and collection.partition("none") is None
    partition.drop(timeout=CALL_SECONDS)
    collection.set_properties({"collection.ttl.seconds": 60}, timeout=CALL_SECONDS)
    collection.truncate(timeout=CALL_SECONDS)
    collection.drop_index(index_name="own", timeout=CALL_SECONDS)
    assert utility.has_collection(name, **options) and name in utility.list_collections(**options)
    assert utility.load_state(f"{name}_none", **options) == LoadState.NotExist


def test_the_orm_moves_to_another_database(orm, name):
    db.create_database(name, using=orm, timeout=CALL_SECONDS)
    db.using_database(name, using=orm)
    collection = Collection("scrolls", schema=book_schema(), using=orm, timeout=CALL_SECONDS)
    assert utility.list_collections(using=orm, timeout=CALL_SECONDS) == ["scrolls"]
    assert collection.describe(timeout=CALL_SECONDS)["collection_name"] == "scrolls"
    collection.drop(timeout=CALL_SECONDS)
    db.using_database("default", using=orm)
    assert "scrolls" not in utility.list_collections(using=orm, timeout=CALL_SECONDS)
    db.drop_database(name, using=orm, timeout=CALL_SECONDS)
