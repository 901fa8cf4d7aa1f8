"""Databases, partitions and aliases: every call of each client, and every refusal with Milvus' code and text."""

import pytest
from conftest import book_schema
from local_cluster import CALL_SECONDS
from pymilvus import DataType, MilvusClient, MilvusException

MANY_PARTITIONS = 16  # of a collection with a partition key that names no number


def exists(client, name):
    return client.has_collection(name, timeout=CALL_SECONDS)


def test_a_database_is_created_altered_and_dropped(cluster, node, caller, others, name):
    caller.create_database(name, properties={"owner": "me", "database.replica.number": "2"})
    assert {"default", name} <= set(caller.list_databases())
    described = caller.describe_database(name)
    assert described["name"] == name and described["owner"] == "me" and described["database.replica.number"] == "2"
    caller.alter_database_properties(name, properties={"owner": "you", "database.max.collections": "1"})
    if caller.label != "orm":  # which has no such call
        caller.drop_database_properties(name, property_keys=["database.replica.number"])
        assert "database.replica.number" not in caller.describe_database(name)
    for reader in others:
        described = reader.describe_database(name, timeout=CALL_SECONDS)
        assert described["owner"] == "you" and described["database.max.collections"] == "1"

    inside = MilvusClient(uri=cluster.uri(node), db_name=name, timeout=CALL_SECONDS)
    inside.create_collection("scrolls", schema=book_schema(), timeout=CALL_SECONDS)
    assert inside.list_collections(timeout=CALL_SECONDS) == ["scrolls"]
    for reader in others:
        assert "scrolls" not in reader.list_collections(timeout=CALL_SECONDS)
    with pytest.raises(MilvusException) as error:
        caller.drop_database(name)
    assert error.value.code == 1100
    assert f"database:{name} not empty, must drop all collections before drop database" in error.value.message
    inside.drop_collection("scrolls", timeout=CALL_SECONDS)
    caller.drop_database(name)
    for reader in others:
        assert name not in reader.list_databases(timeout=CALL_SECONDS)


def test_a_client_moves_to_another_database(cluster, node, name):
    client = MilvusClient(uri=cluster.uri(node), timeout=CALL_SECONDS)
    client.create_database(name, timeout=CALL_SECONDS)
    client.use_database(name)
    client.create_collection("scrolls", schema=book_schema(), timeout=CALL_SECONDS)
    client.create_alias("scrolls", "papers", timeout=CALL_SECONDS)
    assert client.list_aliases(timeout=CALL_SECONDS)["aliases"] == ["papers"]
    assert client.describe_collection("papers", timeout=CALL_SECONDS)["collection_name"] == "scrolls"
    client.use_database("default")
    assert not exists(client, "papers")
    client.use_database(name)
    client.drop_alias("papers", timeout=CALL_SECONDS)
    client.drop_collection("scrolls", timeout=CALL_SECONDS)
    client.drop_database(name, timeout=CALL_SECONDS)


def test_partitions_come_and_go(create, caller, others, name):
    create(name)
    assert caller.list_partitions(name) == ["_default"]
    for _ in range(2):
        caller.create_partition(name, "old-1")
    assert caller.has_partition(name, "old-1") and not caller.has_partition(name, "new")
    for reader in others:
        assert reader.list_partitions(name, timeout=CALL_SECONDS) == ["_default", "old-1"]
        assert reader.describe_collection(name, timeout=CALL_SECONDS)["num_partitions"] == 2
    assert int(caller.get_partition_stats(name, "old-1")["row_count"]) == 0
    for _ in range(2):
        caller.drop_partition(name, "old-1")
    assert caller.list_partitions(name) == ["_default"]


def test_a_partition_key_makes_its_own_partitions(create, client, caller, name):
    schema = book_schema()
    schema.add_field("tenant", DataType.INT64, is_partition_key=True)
    create(name, schema)
    assert client.list_partitions(name, timeout=CALL_SECONDS) == [f"_default_{n}" for n in range(MANY_PARTITIONS)]
    for work in (lambda: caller.create_partition(name, "p"), lambda: caller.drop_partition(name, "_default_0")):
        with pytest.raises(MilvusException) as error:
            work()
        assert error.value.code == 1100 and "partition if partition key mode is used" in error.value.message


def test_an_alias_stands_for_one_collection_after_another(create, caller, client, others, name):
    create(name)
    create(f"{name}_new")
    alias = f"{name}_alias"
    for _ in range(2):
        caller.create_alias(name, alias)
    caller.create_alias(name, f"{alias}_2")
    assert caller.list_aliases(name)["aliases"] == [alias, f"{alias}_2"]
    # AsyncMilvusClient wants a collection, though it says that it does not.
    assert {alias, f"{alias}_2"} <= set(client.list_aliases(timeout=CALL_SECONDS)["aliases"])
    for reader in others:
        assert reader.describe_alias(alias, timeout=CALL_SECONDS)["collection_name"] == name
        described = reader.describe_collection(alias, timeout=CALL_SECONDS)
        assert described["collection_name"] == name and described["aliases"] == [alias, f"{alias}_2"]
        assert exists(reader, alias)
    caller.create_partition(alias, "p")
    assert caller.has_partition(name, "p") and caller.list_partitions(alias) == ["_default", "p"]
    client.alter_collection_properties(alias, properties={"collection.ttl.seconds": "60"}, timeout=CALL_SECONDS)
    assert client.describe_collection(name, timeout=CALL_SECONDS)["properties"]["collection.ttl.seconds"] == "60"

    caller.alter_alias(f"{name}_new", alias)
    for reader in others:
        assert reader.describe_collection(alias, timeout=CALL_SECONDS)["collection_name"] == f"{name}_new"
    for _ in range(2):
        caller.drop_alias(alias)
        caller.drop_alias(f"{alias}_2")
    assert not exists(client, alias) and exists(client, name)


# Of `books`, with the alias `tomes`, and of `maps`: a call, and how it is refused.
REFUSALS = {
    "create a database twice": (
        lambda c: c.create_database("default"), 1100, "database already exist: default",
    ),
    "an impossible database": (
        lambda c: c.create_database("a-b"), 802, "database name can only contain numbers, letters and underscores",
    ),
    "a database without a name": (lambda c: c.create_database(""), 802, "database name couldn't be empty"),
    "a database that begins with a digit": (
        lambda c: c.create_database("1a"), 802,
        "the first character of a database name must be an underscore or letter",
    ),
    "a long database": (
        lambda c: c.create_database("d" * 256), 802, "the length of a database name must be less than 255 characters",
    ),
    "a database in no time zone": (
        lambda c: c.create_database("other", properties={"timezone": "Here"}), 1100,
        "unknown or invalid IANA Time Zone ID: Here",
    ),
    "a database with half a replica": (
        lambda c: c.create_database("other", properties={"database.replica.number": "0.5"}), 1100,
        "invalid database property: [key=database.replica.number] [value=0.5]",
    ),
    "drop no database": (lambda c: c.drop_database("nowhere"), 800, "database not found[database=nowhere]"),
    "drop the default database": (lambda c: c.drop_database("default"), 1100, "can not drop default database"),
    "describe no database": (lambda c: c.describe_database("nowhere"), 800, "database not found[database=nowhere]"),
    "alter no database": (
        lambda c: c.alter_database_properties("nowhere", properties={"k": "v"}), 800,
        "database not found[database=nowhere]",
    ),
    "alter nothing": (
        lambda c: c.alter_database_properties("default", properties={}), 1100,
        "alter database with empty properties and delete keys",
    ),
    "alter a cipher": (
        lambda c: c.alter_database_properties("default", properties={"cipher.enabled": "true"}), 1100,
        "can not alter cipher related properties",
    ),
    "a partition of nothing": (
        lambda c: c.create_partition("nothing", "p"), 100, "collection not found[database=default][collection=nothing]",
    ),
    "an impossible partition": (
        lambda c: c.create_partition("books", "a b"), 1100,
        "Invalid partition name: a b. Partition name can only contain numbers, letters and underscores.",
    ),
    "a partition without a name": (
        lambda c: c.create_partition("books", ""), 1100, "Partition name should not be empty.",
    ),
    "a long partition": (
        lambda c: c.create_partition("books", "p" * 256), 1100,
        "The length of a partition name must be less than 255 characters.",
    ),
    "drop the default partition": (
        lambda c: c.drop_partition("books", "_default"), 1100, "default partition cannot be deleted",
    ),
    "has a partition of nothing": (
        lambda c: c.has_partition("nothing", "p"), 100, "collection not found[database=default][collection=nothing]",
    ),
    "statistics of no partition": (
        lambda c: c.get_partition_stats("books", "none"), 200, "partition not found[partition=none]",
    ),
    "an alias of nothing": (
        lambda c: c.create_alias("nothing", "a"), 100, "collection not found[database=default][collection=nothing]",
    ),
    "an alias of an alias": (
        lambda c: c.create_alias("tomes", "a"), 100, "collection not found[database=default][collection=tomes]",
    ),
    "an alias with a collection's name": (
        lambda c: c.create_alias("books", "maps"), 1601,
        "alias and collection name conflict[database=default][alias=maps]",
    ),
    "another collection's alias": (
        lambda c: c.create_alias("maps", "tomes"), 1602, "tomes is alias to another collection: books",
    ),
    "an impossible alias": (
        lambda c: c.create_alias("books", "1st"), 1100,
        "Invalid collection alias: 1st. the first character of a collection alias must be an underscore or letter",
    ),
    "drop an impossible alias": (
        lambda c: c.drop_alias("a b"), 1100,
        "Invalid collection alias: a b. collection alias can only contain numbers, letters and underscores",
    ),
    "move no alias": (
        lambda c: c.alter_alias("books", "none"), 1600, "alias not found[database=default][alias=none]",
    ),
    "describe no alias": (
        lambda c: c.describe_alias("none"), 1600, "alias not found[database=default][alias=none]",
    ),
    "aliases of nothing": (
        lambda c: c.list_aliases("nothing"), 100, "collection not found[database=default][collection=nothing]",
    ),
    "a collection with an alias' name": (
        lambda c: c.create_collection("tomes", schema=book_schema()), 65535,
        "collection name [tomes] conflicts with an existing alias, please choose a unique name",
    ),
    "drop through an alias": (
        lambda c: c.drop_collection("tomes"), 1100, "cannot drop the collection via alias = tomes",
    ),
    "drop what has an alias": (
        lambda c: c.drop_collection("books"), 1100,
        "unable to drop the collection [books] because it has associated aliases [tomes], "
        "please remove all aliases before dropping the collection",
    ),
}


@pytest.fixture
def shelf(cluster, client):
    """What the table's calls are made of; once a cluster."""
    for name in ("books", "maps"):
        client.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
        cluster.acknowledged.add(name)
    client.create_alias("books", "tomes", timeout=CALL_SECONDS)


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals(shelf, cluster, node, client, refused, refusal):
    call, code, text = refusal
    assert text in refused(code, lambda: call(client))
