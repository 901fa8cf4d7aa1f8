"""Collections as applications change them: renamed, grown by fields and functions, altered, truncated, counted."""

import asyncio

import pytest
from conftest import book_schema
from local_cluster import CALL_SECONDS, NODES
from pymilvus import AsyncMilvusClient, Collection, DataType, Function, FunctionType, MilvusClient, connections, utility
from pymilvus.grpc_gen import milvus_pb2


def described(client, name):
    return client.describe_collection(name, timeout=CALL_SECONDS)


def field_of(client, name, field):
    return {each["name"]: each for each in described(client, name)["fields"]}[field]


@pytest.fixture
def asynchronously(cluster, node):
    """Runs `work(client)` with pymilvus' asynchronous client."""

    def call(work):
        async def run():
            client = AsyncMilvusClient(uri=cluster.uri(node), timeout=CALL_SECONDS)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(run())

    return call


@pytest.fixture
def orm(cluster, node):
    """The name of an ORM connection to the node."""
    alias = f"orm_{node}"
    connections.connect(alias, uri=cluster.uri(node), timeout=CALL_SECONDS)
    yield alias
    connections.disconnect(alias)


def test_a_renamed_collection_is_the_same_one(cluster, create, client, others, name):
    create(name)
    before = described(client, name)
    new_name = f"{name}_renamed"
    cluster.acknowledged.discard(name)
    client.rename_collection(name, new_name, timeout=CALL_SECONDS)
    cluster.acknowledged.add(new_name)
    for reader in [client, *others]:
        after = described(reader, new_name)
        assert after["collection_id"] == before["collection_id"]
        assert after["fields"] == before["fields"]
        assert not reader.has_collection(name, timeout=CALL_SECONDS)
    # The old name is free, and means another collection.
    create(name)
    assert described(client, name)["collection_id"] != before["collection_id"]


def test_renames_by_the_orm_and_the_asynchronous_client(cluster, create, client, orm, asynchronously, name):
    create(name)
    cluster.acknowledged.discard(name)
    utility.rename_collection(name, f"{name}_b", using=orm, timeout=CALL_SECONDS)
    asynchronously(lambda other: other.rename_collection(f"{name}_b", f"{name}_c", timeout=CALL_SECONDS))
    assert client.has_collection(f"{name}_c", timeout=CALL_SECONDS)
    assert not client.has_collection(f"{name}_b", timeout=CALL_SECONDS)
    cluster.acknowledged.add(f"{name}_c")


def test_a_collection_moves_to_another_database_and_back(cluster, node, create, client, name):
    create(name)
    collection_id = described(client, name)["collection_id"]
    client.create_database(f"{name}_db", timeout=CALL_SECONDS)
    there = MilvusClient(uri=cluster.uri(node), db_name=f"{name}_db", timeout=CALL_SECONDS)
    cluster.acknowledged.discard(name)
    client.rename_collection(name, f"{name}_moved", target_db=f"{name}_db", timeout=CALL_SECONDS)
    assert described(there, f"{name}_moved")["collection_id"] == collection_id
    assert not client.has_collection(name, timeout=CALL_SECONDS)
    assert there.list_collections(timeout=CALL_SECONDS) == [f"{name}_moved"]
    there.rename_collection(f"{name}_moved", name, target_db="default", timeout=CALL_SECONDS)
    cluster.acknowledged.add(name)
    assert described(client, name)["collection_id"] == collection_id
    client.drop_database(f"{name}_db", timeout=CALL_SECONDS)
    there.close()


def test_renames_that_are_refused(create, client, refused, name):
    create(name)
    create(f"{name}_taken")

    def rename(old, new):
        return lambda: client.rename_collection(old, new, timeout=CALL_SECONDS)

    assert "collection name or database name should be different" in refused(1100, rename(name, name))
    text = refused(1100, rename(name, f"{name}_taken"))
    assert f"duplicated new collection name default:{name}_taken with other collection name or alias" in text
    assert "Invalid collection name: 1st." in refused(1100, rename(name, "1st"))
    assert "collection not found" in refused(100, rename(f"{name}_missing", f"{name}_new"))

    def elsewhere():
        client.rename_collection(name, name, target_db="nowhere", timeout=CALL_SECONDS)

    assert "database not found[database=nowhere]" in refused(800, elsewhere)


def test_a_new_collection_has_no_rows(create, client, orm, asynchronously, refused, name):
    create(name)
    assert client.get_collection_stats(name, timeout=CALL_SECONDS) == {"row_count": 0}
    assert asynchronously(lambda other: other.get_collection_stats(name, timeout=CALL_SECONDS)) == {"row_count": 0}
    assert Collection(name, using=orm, timeout=CALL_SECONDS).num_entities == 0
    missing = f"{name}_missing"
    assert "collection not found" in refused(100, lambda: client.get_collection_stats(missing, timeout=CALL_SECONDS))


def test_several_collections_are_described_at_once(cluster, node, create, client, name):
    names = [f"{name}_{letter}" for letter in "ab"]
    for each in names:
        create(each)
    request = milvus_pb2.BatchDescribeCollectionRequest(collection_name=[*names, f"{name}_missing", "1st"])
    reply = cluster.client(node)._get_connection()._stub.BatchDescribeCollection(request, timeout=CALL_SECONDS)
    assert reply.status.code == 0
    assert [one.status.code for one in reply.responses] == [0, 0, 100, 1100]
    ids = [one.collectionID for one in reply.responses[:2]]
    assert ids == [described(client, each)["collection_id"] for each in names]
    empty = milvus_pb2.BatchDescribeCollectionRequest()
    reply = cluster.client(node)._get_connection()._stub.BatchDescribeCollection(empty, timeout=CALL_SECONDS)
    assert (reply.status.code, reply.status.reason) == (1101, "collection names cannot be empty: missing parameter")


def test_a_collection_is_described_by_its_id_and_by_the_time(create, client, name):
    create(name)
    stub = client._get_connection()._stub
    found = described(client, name)

    def describe(**what):
        return stub.DescribeCollection(milvus_pb2.DescribeCollectionRequest(**what), timeout=CALL_SECONDS)

    assert describe(collectionID=found["collection_id"]).collection_name == name
    assert describe(collection_name=name, time_stamp=found["created_timestamp"]).status.code == 0
    assert describe(collection_name=name, time_stamp=found["created_timestamp"] - 1).status.code == 100
    assert describe(collectionID=1).status.code == 100


def test_fields_are_added(create, client, others, asynchronously, name):
    create(name)
    client.add_collection_field(
        name, "count", DataType.INT64, desc="how many", nullable=True, default_value=7, timeout=CALL_SECONDS
    )
    asynchronously(
        lambda other: other.add_collection_field(
            name, "subtitle", DataType.VARCHAR, nullable=True, max_length=64, timeout=CALL_SECONDS
        )
    )
    client.add_collection_field(name, "second", DataType.FLOAT_VECTOR, nullable=True, dim=4, timeout=CALL_SECONDS)
    for reader in [client, *others]:
        fields = described(reader, name)["fields"]
        assert [field["name"] for field in fields] == ["id", "title", "embedding", "count", "subtitle", "second"]
        ids = [field["field_id"] for field in fields]
        assert len(set(ids)) == len(ids) and ids == sorted(ids)
    assert field_of(client, name, "count")["nullable"] and field_of(client, name, "count")["description"] == "how many"


def test_fields_that_cannot_be_added(create, client, refused, name):
    create(name)

    def add(field, data_type=DataType.INT64, **options):
        options.setdefault("nullable", True)
        return lambda: client.add_collection_field(name, field, data_type, timeout=CALL_SECONDS, **options)

    assert "added field must be nullable, please check it, field name = x" in refused(1100, add("x", nullable=False))
    assert "duplicate field name: title" in refused(1100, add("title"))
    assert "not support to add system field, field name = RowID" in refused(1100, add("RowID"))
    assert "not support to add partition key field" in refused(1100, add("x", is_partition_key=True))
    assert "Invalid field name: and." in refused(1701, add("and"))
    assert "type param(max_length) should be specified" in refused(1101, add("x", DataType.VARCHAR))
    assert "vector field must have dimension specified" in refused(1100, add("x", DataType.FLOAT_VECTOR))

    def add_elsewhere():
        client.add_collection_field(f"{name}_none", "x", DataType.INT64, nullable=True, timeout=CALL_SECONDS)

    assert "collection not found" in refused(100, add_elsewhere)
    for number in range(64 - 3):
        add(f"field_{number}")()
    assert "The number of fields has reached the maximum value 64" in refused(1100, add("one_more"))


def test_parameters_of_a_field_change(create, client, others, asynchronously, refused, name):
    create(name)
    client.alter_collection_field(name, "title", {"max_length": 300, "mmap_enabled": True}, timeout=CALL_SECONDS)
    asynchronously(
        lambda other: other.alter_collection_field(name, "title", {"field.description": "t"}, timeout=CALL_SECONDS)
    )
    for reader in [client, *others]:
        title = field_of(reader, name, "title")
        assert title["params"]["max_length"] == 300 and title["description"] == "t"

    def alter(field, params):
        return lambda: client.alter_collection_field(name, field, params, timeout=CALL_SECONDS)

    assert "dim does not allow update in collection field param" in refused(1100, alter("embedding", {"dim": 4}))
    assert "65536 exceeds the maximum allowed value 65535" in refused(1100, alter("title", {"max_length": 65536}))
    assert "can not modify the maxlength for non-string types" in refused(1100, alter("id", {"max_length": 9}))
    assert "field none does not exist in collection" in refused(1100, alter("none", {"mmap_enabled": True}))


def test_properties_description_and_consistency_change(create, client, asynchronously, refused, name):
    create(name)
    client.alter_collection_properties(name, {"collection.ttl.seconds": 60, "k": "v"}, timeout=CALL_SECONDS)
    asynchronously(
        lambda other: other.alter_collection_properties(
            name, {"collection.description": "other", "consistency_level": "Strong"}, timeout=CALL_SECONDS
        )
    )
    found = described(client, name)
    assert found["properties"].get("collection.ttl.seconds") == "60"
    assert found["description"] == "other" and found["consistency_level"] == 0
    client.drop_collection_properties(name, ["collection.ttl.seconds"], timeout=CALL_SECONDS)
    assert "collection.ttl.seconds" not in described(client, name)["properties"]

    def alter(properties):
        return lambda: client.alter_collection_properties(name, properties, timeout=CALL_SECONDS)

    assert "collection TTL is not a valid positive integer" in refused(1100, alter({"collection.ttl.seconds": "x"}))
    assert "unknown or invalid IANA Time Zone ID: Mars" in refused(1100, alter({"timezone": "Mars"}))
    assert "no partition key field is set" in refused(105, alter({"partitionkey.isolation": "true"}))
    text = refused(1100, alter({"dynamicfield.enabled": "true", "k": "w"}))
    assert "cannot alter dynamic schema with other properties at the same time" in text


def test_the_dynamic_field_is_enabled_later_and_stays(create, client, refused, name):
    schema = MilvusClient.create_schema(enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=8)
    create(name, schema)

    def dynamic(value):
        client.alter_collection_properties(name, {"dynamicfield.enabled": value}, timeout=CALL_SECONDS)

    dynamic("false")
    assert not described(client, name)["enable_dynamic_field"]
    dynamic("true")
    assert described(client, name)["enable_dynamic_field"]
    dynamic("true")
    assert "dynamic schema cannot supported to be disabled" in refused(1100, lambda: dynamic("false"))


def embed(name, output="embedding", model="small"):
    params = {"provider": "openai", "model_name": model}
    return Function(name, FunctionType.TEXTEMBEDDING, ["title"], [output], params=params)


def test_functions_come_change_and_go(create, client, others, asynchronously, refused, name):
    create(name)
    client.add_collection_function(name, embed("embed"), timeout=CALL_SECONDS)
    for reader in [client, *others]:
        (function,) = described(reader, name)["functions"]
        assert function["name"] == "embed" and function["output_field_names"] == ["embedding"]
    asynchronously(
        lambda other: other.alter_collection_function(
            name, "embed", embed("embed", model="large"), timeout=CALL_SECONDS
        )
    )
    (function,) = described(client, name)["functions"]
    assert function["params"]["model_name"] == "large"

    def add(function):
        return lambda: client.add_collection_function(name, function, timeout=CALL_SECONDS)

    assert "duplicate function name: embed" in refused(1100, add(embed("embed")))
    assert "duplicate function output field" in refused(1100, add(embed("again")))
    bm25 = Function("bm25", FunctionType.BM25, ["title"], ["embedding"])
    assert "does not support adding BM25 function" in refused(1100, add(bm25))
    for _ in range(2):
        client.drop_collection_function(name, "embed", timeout=CALL_SECONDS)
    assert described(client, name)["functions"] == []


def test_a_truncated_collection_is_there_and_empty(create, client, asynchronously, orm, refused, name):
    create(name)
    client.truncate_collection(name, timeout=CALL_SECONDS)
    asynchronously(lambda other: other.truncate_collection(name, timeout=CALL_SECONDS))
    utility.truncate_collection(name, using=orm, timeout=CALL_SECONDS)
    assert client.get_collection_stats(name, timeout=CALL_SECONDS) == {"row_count": 0}
    missing = f"{name}_missing"
    assert "collection not found" in refused(100, lambda: client.truncate_collection(missing, timeout=CALL_SECONDS))


def test_a_large_collection_is_dropped_and_made_again_at_once(cluster, create, drop, client, others, name):
    schema = book_schema()
    schema.add_field("group", DataType.INT64, is_partition_key=True)
    for _ in range(3):
        create(name, schema, num_partitions=1024)
        first = described(client, name)["collection_id"]
        drop(name)
        for reader in [client, *others]:
            assert not reader.has_collection(name, timeout=CALL_SECONDS)
    create(name)
    assert described(client, name)["collection_id"] > first


def test_every_way_to_declare_a_field_comes_back(create, client, others, name):
    schema = MilvusClient.create_schema(auto_id=False, description="everything")
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=36, description="key")
    for kind in [DataType.BOOL, DataType.INT8, DataType.INT16, DataType.INT32, DataType.FLOAT, DataType.DOUBLE]:
        schema.add_field(kind.name.lower(), kind, nullable=True)
    schema.add_field("tenant", DataType.VARCHAR, max_length=32, is_partition_key=True)
    schema.add_field("day", DataType.INT64, is_clustering_key=True, default_value=5)
    schema.add_field("doc", DataType.VARCHAR, max_length=1000, enable_analyzer=True, enable_match=True)
    schema.add_field("json", DataType.JSON, nullable=True)
    schema.add_field("place", DataType.GEOMETRY, nullable=True)
    schema.add_field("at", DataType.TIMESTAMPTZ, nullable=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=8)
    schema.add_field("half", DataType.FLOAT16_VECTOR, dim=8)
    schema.add_field("bits", DataType.BINARY_VECTOR, dim=16)
    schema.add_field("bytes", DataType.INT8_VECTOR, dim=8)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["doc"], ["sparse"]))
    clip = MilvusClient.create_struct_field_schema()
    clip.add_field("text", DataType.VARCHAR, max_length=100)
    clip.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("clips", DataType.ARRAY, element_type=DataType.STRUCT, struct_schema=clip, max_capacity=10)
    properties = {"partitionkey.isolation": "true", "timezone": "Europe/Berlin", "mmap.enabled": "true"}
    create(name, schema, num_shards=3, num_partitions=7, consistency_level="Session", properties=properties)
    found = described(client, name)
    fields = {field["name"]: field for field in found["fields"]}
    assert list(fields) == [
        "id", "bool", "int8", "int16", "int32", "float", "double", "tenant", "day", "doc", "json", "place", "at",
        "dense", "half", "bits", "bytes", "sparse", "clips",
    ]
    assert fields["tenant"]["is_partition_key"] and fields["day"]["is_clustering_key"]
    assert fields["sparse"]["is_function_output"] and found["functions"][0]["name"] == "bm25"
    assert fields["doc"]["params"]["enable_match"]
    assert found["num_shards"] == 3 and found["num_partitions"] == 7 and found["consistency_level"] == 1
    assert properties.items() <= found["properties"].items()
    for reader in others:
        assert described(reader, name) == found
    create(name, schema, num_shards=3, num_partitions=7, consistency_level="Session", properties=properties)
    assert described(client, name) == found


def test_concurrent_changes_of_different_collections_do_not_wait_for_each_other(cluster, create, client, name):
    """Each node adds fields to a collection of its own at the same time; none is lost and none is doubled."""
    nodes = [node for node in NODES if cluster.alive(node)]
    names = {node: f"{name}_{node}" for node in nodes}
    for each in names.values():
        create(each)

    async def grow(node):
        changer = AsyncMilvusClient(uri=cluster.uri(node), timeout=CALL_SECONDS)
        for number in range(5):
            await changer.add_collection_field(
                names[node], f"field_{number}", DataType.INT64, nullable=True, timeout=CALL_SECONDS
            )
        await changer.close()

    async def all_of_them():
        await asyncio.gather(*(grow(node) for node in nodes))

    asyncio.run(all_of_them())
    for each in names.values():
        fields = [field["name"] for field in described(client, each)["fields"]]
        assert fields[3:] == [f"field_{number}" for number in range(5)]
