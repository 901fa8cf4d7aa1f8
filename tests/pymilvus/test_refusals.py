"""Refused calls: Milvus' code and text, at once (a client retries what it takes for a passing failure for minutes)."""

import pytest
from conftest import book_schema
from local_cluster import CALL_SECONDS
from pymilvus import DataType, MilvusClient


def create(client, name, schema=None, **options):
    client.create_collection(name, schema=schema or book_schema(), timeout=CALL_SECONDS, **options)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("1st", "Invalid collection name: 1st. the first character of a collection name must be an underscore or letter"),
        ("with-dash", "collection name can only contain numbers, letters and underscores"),
        ("n" * 256, "the length of a collection name must be less than 255 characters"),
    ],
    ids=["first character", "alphabet", "length"],
)
def test_bad_names(client, refused, bad, text):
    assert text in refused(1100, lambda: create(client, bad))


@pytest.mark.parametrize(
    ("vector", "dim", "text"),
    [
        (DataType.FLOAT_VECTOR, 1, "invalid dimension: 1"),
        (DataType.FLOAT_VECTOR, 32769, "float vector dimension should be in range 2 ~ 32768"),
        (DataType.BINARY_VECTOR, 12, "binary vector dimension should be multiple of 8"),
    ],
    ids=["too small", "too large", "not bytes"],
)
def test_bad_dimensions(client, refused, name, vector, dim, text):
    assert text in refused(1100, lambda: create(client, name, book_schema(dim, vector)))
    assert not client.has_collection(name, timeout=CALL_SECONDS)


def test_another_schema_under_a_name_that_is_taken(cluster, client, refused, name):
    create(client, name)
    cluster.acknowledged.add(name)
    text = refused(1100, lambda: create(client, name, book_schema(dim=16)))
    assert "create duplicate collection with different parameters" in text


def test_too_many_shards_and_fields(client, refused, name):
    text = refused(1100, lambda: create(client, name, num_shards=17))
    assert "maximum shards's number should be limited to 16" in text
    wide = book_schema()
    for number in range(64):
        wide.add_field(f"field_{number}", DataType.INT64)
    assert "maximum field's number should be limited to 64" in refused(1100, lambda: create(client, name, wide))


def test_a_database_that_is_not_there(cluster, node, refused):
    def list_there():
        elsewhere = MilvusClient(uri=cluster.uri(node), db_name="nowhere", timeout=CALL_SECONDS)
        elsewhere.list_collections(timeout=CALL_SECONDS)

    assert "database not found[database=nowhere]" in refused(800, list_there)


@pytest.mark.parametrize("call", ["insert", "upsert", "delete", "search", "query"])
def test_the_data_plane_is_elsewhere(cluster, client, refused, name, call):
    """Roost is the coordinator: rows and searches belong to Milvus' other nodes, and the text says so."""
    row = {"id": 1, "title": "one", "embedding": [0.0] * 8}

    def work(name):
        return {
            "insert": lambda: client.insert(name, [row], timeout=CALL_SECONDS),
            "upsert": lambda: client.upsert(name, [row], timeout=CALL_SECONDS),
            "delete": lambda: client.delete(name, ids=[1], timeout=CALL_SECONDS),
            "search": lambda: client.search(name, data=[[0.0] * 8], limit=1, timeout=CALL_SECONDS),
            "query": lambda: client.query(name, filter="id >= 0", limit=1, timeout=CALL_SECONDS),
        }[call]

    missing = f"collection not found[database=default][collection={name}]"
    assert missing in refused(100, work(name))
    create(client, name)
    cluster.acknowledged.add(name)
    if call in ("search", "query"):
        assert f"failed to {call}: collection not loaded" in refused(101, work(name))
    index = MilvusClient.prepare_index_params()
    index.add_index("embedding")
    client.create_index(name, index, timeout=CALL_SECONDS)
    client.load_collection(name, timeout=CALL_SECONDS)
    assert "Roost" in refused(10, work(name))
