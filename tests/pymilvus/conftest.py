"""Fixtures: the cluster, the three phases of its life, and a client of one node.

Every test runs in each phase and through each node that lives in it: all nodes up, the leader killed with -9, and the
killed node back.
"""

import itertools
import logging
import threading
import time

import pytest
from callers import CALLERS
from local_cluster import CALL_SECONDS, NODES, LocalCluster
from pymilvus import DataType, MilvusClient, MilvusException

REFUSED_SECONDS = 3.0  # far below what retries would take
FAILOVER_SECONDS = 10.0  # generous: machines that run tests are loaded; the measured value is printed

_cluster: LocalCluster | None = None
_names = itertools.count(1)


def pytest_configure(config):
    # pymilvus logs each retry with a traceback; a failed test says what is wrong by itself.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    # The ORM is served as long as pymilvus 2.6 has it; it says with each call that 3.1 will not.
    config.addinivalue_line("filterwarnings", "ignore:.*is an ORM-style PyMilvus API")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    global _cluster
    _cluster = LocalCluster(tmp_path_factory.mktemp("roost"))
    try:
        _cluster.command("up")
        _cluster.wait_for_apply_version()
        yield _cluster
    finally:
        # The logs of a failure are worth keeping; pytest names the directory.
        _cluster.command("down", *([] if _cluster.failed else ["--wipe"]))


@pytest.fixture(scope="session", params=["all_up", "leader_killed", "killed_back"])
def phase(request, cluster):
    if request.param == "leader_killed":
        kill_the_leader_while_writing(cluster)
    elif request.param == "killed_back":
        cluster.command("up")
        cluster.wait_for_apply_version()
        cluster.wait_for_clients()
    return request.param


@pytest.fixture(params=NODES, ids=lambda node: f"node{node}")
def node(request, cluster, phase):
    if not cluster.alive(request.param):
        pytest.skip("this is the node that was killed")
    return request.param


@pytest.fixture
def client(cluster, node):
    return cluster.client(node)


@pytest.fixture
def name():
    """A collection name that no other test uses."""
    return f"test_{next(_names)}"


@pytest.fixture
def create(cluster, client):
    """Creates a collection through the node under test and remembers that it was acknowledged."""

    def call(name, schema=None, **options):
        client.create_collection(name, schema=schema or book_schema(), timeout=CALL_SECONDS, **options)
        cluster.acknowledged.add(name)

    return call


@pytest.fixture
def drop(cluster, client):
    def call(name):
        # Forgotten first: if the answer is lost, the collection may or may not be there.
        cluster.acknowledged.discard(name)
        client.drop_collection(name, timeout=CALL_SECONDS)

    return call


@pytest.fixture
def refused():
    """Runs a call that must fail at once with this code, and returns its text."""

    def call(code, work):
        started = time.monotonic()
        with pytest.raises(MilvusException) as error:
            work()
        assert error.value.code == code, error.value
        assert time.monotonic() - started < REFUSED_SECONDS
        return error.value.message

    return call


@pytest.fixture(params=CALLERS, ids=lambda kind: kind.label)
def caller(request, cluster, node):
    """Each of pymilvus' three clients in turn, behind the same names."""
    caller = request.param(cluster.uri(node))
    yield caller
    caller.close()


@pytest.fixture
def others(cluster, node):
    """Clients of the living nodes that are not under test."""
    return [cluster.client(other) for other in NODES if other != node and cluster.alive(other)]


def book_schema(dim=8, vector=DataType.FLOAT_VECTOR):
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True, description="books")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("title", DataType.VARCHAR, max_length=200)
    schema.add_field("embedding", vector, dim=dim)
    return schema


def kill_the_leader_while_writing(cluster):
    """kill -9 with writers on every node; measures what a client of a survivor waits for its next write."""
    leader = cluster.leader()
    stop = threading.Event()
    acknowledged = {node: [] for node in NODES}
    errors = []

    def write(node):
        writer = MilvusClient(uri=cluster.uri(node), timeout=CALL_SECONDS)
        for number in itertools.count():
            if stop.is_set():
                return
            name = f"written_by_{node}_{number}"
            try:
                # As a retry after an unknown outcome may: the same name and schema again is the same collection.
                writer.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
            except MilvusException as error:
                if node != leader:
                    errors.append(f"through node {node}: {error}")
                return
            acknowledged[node].append((name, time.monotonic()))
            time.sleep(0.01)

    writers = [threading.Thread(target=write, args=(node,), daemon=True) for node in NODES]
    for writer in writers:
        writer.start()
    time.sleep(1.0)
    killed_at = time.monotonic()
    cluster.kill(leader)
    time.sleep(2.0)
    stop.set()
    for writer in writers:
        writer.join(CALL_SECONDS * 2)

    assert not errors, "a client of a survivor must only wait, not fail: " + "; ".join(errors)
    survivors = [node for node in NODES if node != leader]
    waits = []
    for node in survivors:
        after = [when - killed_at for _, when in acknowledged[node] if when > killed_at]
        assert after, f"node {node} acknowledged nothing after the leader was killed"
        # The longest gap that begins before or after the kill is the outage that this writer saw.
        marks = [0.0, *after]
        waits.append(max(later - earlier for earlier, later in zip(marks, marks[1:])))
    before = sum(when <= killed_at for marks in acknowledged.values() for _, when in marks)
    written = [name for marks in acknowledged.values() for name, _ in marks]
    cluster.acknowledged.update(written)
    cluster.findings.append(
        f"leader (node {leader}) killed with -9: writers of the survivors waited at most {max(waits) * 1000:.0f} ms; "
        f"{len(written)} collections acknowledged meanwhile, {before} of them before the kill"
    )
    assert max(waits) < FAILOVER_SECONDS


def pytest_runtest_logreport(report):
    """A failure is easier to read with what the nodes said; once is enough."""
    if report.failed and _cluster is not None and not _cluster.failed:
        _cluster.failed = True
        report.sections.append(("logs of the nodes", _cluster.logs()))


def pytest_terminal_summary(terminalreporter):
    for finding in _cluster.findings if _cluster else []:
        terminalreporter.write_line(f"measured: {finding}")
