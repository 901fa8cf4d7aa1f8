"""With quotas: what a client meets at each node above a rate, and in a database that denies something.

A cluster of its own, whose rates are a third at each node.
"""

import time
import uuid

import pytest
from conftest import book_schema
from local_cluster import CALL_SECONDS, NODES, LocalCluster
from pymilvus import MilvusClient, MilvusException

RATE_LIMITED, DENIED = 8, 9
REFUSED_SECONDS = 3.0  # far below what retries would take
RATES = {
    "ROOST_QUOTA_ENABLED": "true",
    # One partition a node, and the next one after a quarter of an hour.
    "ROOST_QUOTA_DDL": "{enabled: true, partition: {cluster: 0.003}}",
    # One index a second and node.
    "ROOST_QUOTA_INDEX": "{enabled: true, cluster: 3}",
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    cluster = LocalCluster(tmp_path_factory.mktemp("limited"), **RATES)
    try:
        cluster.command("up")
        cluster.wait_for_apply_version()
        cluster.wait_for_clients()
        yield cluster
    finally:
        cluster.command("down", "--wipe")


@pytest.fixture(params=NODES, ids=lambda node: f"node{node}")
def node(request):
    return request.param


@pytest.fixture
def client(limited, node):
    return limited.client(node)


@pytest.fixture
def books(client):
    name = f"c{uuid.uuid4().hex[:12]}"
    client.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
    return name


def refused(code, work):
    started = time.monotonic()
    with pytest.raises(MilvusException) as error:
        work()
    assert error.value.code == code, error.value
    assert time.monotonic() - started < REFUSED_SECONDS
    return error.value.message


def test_ddl_above_the_rate_is_refused_and_not_done(client, books):
    client.create_partition(books, "first", timeout=CALL_SECONDS)
    def again(**options):
        return client.create_partition(books, "second", **options)

    text = refused(RATE_LIMITED, lambda: again(timeout=CALL_SECONDS, retry_on_rate_limit=False))
    assert text.endswith("please retry later: rate limit exceeded[rate=0.003]"), text
    # A client that repeats, as it does unless told otherwise, ends with the same when its time is up.
    assert "rate limit exceeded[rate=0.003]" in refused(RATE_LIMITED, lambda: again(timeout=1.0))
    assert not client.has_partition(books, "second", timeout=CALL_SECONDS)
    # Reads and other kinds of calls go on.
    assert client.list_partitions(books, timeout=CALL_SECONDS) == ["_default", "first"]


def test_a_client_that_waits_is_slowed_down_and_served(client, books):
    started = time.monotonic()
    params = client.prepare_index_params()
    params.add_index("embedding", index_type="FLAT", metric_type="L2")
    for _ in range(2):
        client.create_index(books, params, timeout=CALL_SECONDS)
        client.drop_index(books, "embedding", timeout=CALL_SECONDS)
    # The first of four is due at once, the others in a second each.
    assert time.monotonic() - started > 2.5
    assert client.list_indexes(books) == []


def test_what_a_database_denies_is_refused_until_it_is_allowed_again(limited, client, node):
    shelf = f"d{uuid.uuid4().hex[:12]}"
    key = "database.force.deny.collectionDDL"
    client.create_database(shelf, timeout=CALL_SECONDS, properties={key: "true"})
    inside = MilvusClient(uri=limited.uri(node), db_name=shelf, timeout=CALL_SECONDS)

    def create():
        inside.create_collection("c", schema=book_schema(), timeout=CALL_SECONDS)

    assert "quota exceeded[reason=access has been disabled by the administrator]" in refused(DENIED, create)
    assert inside.list_collections(timeout=CALL_SECONDS) == []
    client.alter_database_properties(shelf, {key: "false"}, timeout=CALL_SECONDS)
    create()
    assert inside.list_collections(timeout=CALL_SECONDS) == ["c"]
