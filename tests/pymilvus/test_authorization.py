"""With authorization: who is let in, what a user may do, on every node, and while the leader is killed.

A cluster of its own. The tests run in their order: the leader is killed between them.
"""

import base64
import threading
import time
import uuid

import grpc
import pytest
from conftest import FAILOVER_SECONDS, book_schema
from local_cluster import CALL_SECONDS, NODES, LocalCluster
from pymilvus import MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

PASSWORD = "pass-word"
WRONG = "auth check failure, please check username and password are correct"
REFUSED_SECONDS = 5.0  # far below what retries would take


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    cluster = LocalCluster(tmp_path_factory.mktemp("secured"), ROOST_SECURITY_AUTHORIZATION_ENABLED="true")
    try:
        cluster.command("up")
        cluster.wait_for_apply_version()
        wait_for_root(cluster)
        yield cluster
    finally:
        cluster.command("down", "--wipe")


@pytest.fixture(scope="module", params=["all_up", "leader_killed", "killed_back"])
def moment(request, secured):
    """The phases of the cluster's life; a user works while the leader is killed."""
    if request.param == "leader_killed":
        kill_the_leader_while_a_user_works(secured)
    elif request.param == "killed_back":
        secured.command("up")
        wait_for_root(secured)
    return request.param


@pytest.fixture(params=NODES, ids=lambda node: f"node{node}")
def node(request, secured, moment):
    if not secured.alive(request.param):
        pytest.skip("this is the node that was killed")
    return request.param


@pytest.fixture
def root(secured, node):
    return login(secured, node, "root", "Milvus")


@pytest.fixture
def name():
    return f"n{uuid.uuid4().hex[:12]}"


@pytest.fixture
def user(root, name):
    """A user with a role of the same name and no grants."""
    root.create_user(name, PASSWORD, timeout=CALL_SECONDS)
    root.create_role(name, timeout=CALL_SECONDS)
    root.grant_role(name, name, timeout=CALL_SECONDS)
    yield name
    root.drop_role(name, force_drop=True, timeout=CALL_SECONDS)
    root.drop_user(name, timeout=CALL_SECONDS)


@pytest.fixture
def everywhere(secured, user):
    """The user's clients, one at each living node."""
    return [login(secured, node, user) for node in NODES if secured.alive(node)]


def login(cluster, node, user, password=PASSWORD, **options):
    return MilvusClient(uri=cluster.uri(node), user=user, password=password, timeout=CALL_SECONDS, **options)


def wait_for_root(cluster):
    deadline = time.monotonic() + 60
    for node in NODES:
        while True:
            try:
                login(cluster, node, "root", "Milvus")
                break
            except MilvusException:
                assert time.monotonic() < deadline
                time.sleep(0.1)


def raw(cluster, node, token, request=None, method="ShowCollections"):
    """The gRPC error of a call with this authorization metadata, made without pymilvus."""
    with grpc.insecure_channel(cluster.uri(node).removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        metadata = [] if token is None else [("authorization", token)]
        with pytest.raises(grpc.RpcError) as error:
            getattr(stub, method)(request or milvus_pb2.ShowCollectionsRequest(), metadata=metadata, timeout=CALL_SECONDS)
        return error.value.code(), error.value.details()


def denied(work, privilege, user, database="default"):
    started = time.monotonic()
    with pytest.raises((MilvusException, grpc.RpcError)) as error:
        work()
    assert f"{privilege}: permission deny to {user} in the `{database}` database" in str(error.value)
    assert time.monotonic() - started < REFUSED_SECONDS


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_wrong_and_missing_credentials_and_malformed_tokens(secured, node, root):
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED
    assert raw(secured, node, None) == (unauthenticated, "missing authorization in header")
    assert raw(secured, node, "!!!") == (unauthenticated, "invalid token format")
    assert raw(secured, node, encoded("key")) == (unauthenticated, "auth check failure, please check api key is correct")
    for wrong in ["root:wrong", "nobody:Milvus", "root:", ":", "Root:Milvus"]:
        assert raw(secured, node, encoded(wrong)) == (unauthenticated, WRONG)
    for method, request in [("Connect", milvus_pb2.ConnectRequest()), ("GetVersion", milvus_pb2.GetVersionRequest())]:
        assert raw(secured, node, encoded("root:wrong"), request, method) == (unauthenticated, WRONG)
    started = time.monotonic()
    with pytest.raises(MilvusException):
        login(secured, node, "root", "wrong-one")
    assert time.monotonic() - started < REFUSED_SECONDS


def test_a_user_without_grants_may_only_look_at_itself(everywhere, user, name):
    for client in everywhere:
        denied(lambda: client.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS),
               "PrivilegeCreateCollection", user)
        denied(lambda: client.list_users(timeout=CALL_SECONDS), "PrivilegeSelectOwnership", user)
        denied(lambda: client.describe_user("root", timeout=CALL_SECONDS), "PrivilegeSelectUser", user)
        denied(lambda: client.create_user("other", PASSWORD, timeout=CALL_SECONDS), "PrivilegeCreateOwnership", user)
        denied(lambda: client.drop_user("root", timeout=CALL_SECONDS), "PrivilegeDropOwnership", user)
        denied(lambda: client.grant_role(user, "admin", timeout=CALL_SECONDS), "PrivilegeManageOwnership", user)
        assert list(client.describe_user(user, timeout=CALL_SECONDS)["roles"]) == [user]


def test_a_grant_counts_on_every_node_at_once_and_so_does_its_end(secured, root, user, name):
    root.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
    alive = [node for node in NODES if secured.alive(node)]
    request = milvus_pb2.InsertRequest(collection_name=name)
    denial = f"PrivilegeInsert: permission deny to {user} in the `default` database"
    for _ in range(3):
        for node in alive:
            found = raw(secured, node, encoded(f"{user}:{PASSWORD}"), request, "Insert")
            assert found == (grpc.StatusCode.PERMISSION_DENIED, denial)
        root.grant_privilege_v2(user, "CollectionReadWrite", name, "default", timeout=CALL_SECONDS)
        for node in alive:
            # Rows are not Roost's business: whoever may insert is told so, with code 10.
            with pytest.raises(MilvusException) as error:
                login(secured, node, user).insert(
                    name, [{"id": 1, "title": "one", "embedding": [0.0] * 8}], timeout=CALL_SECONDS)
            assert error.value.code == 10
        root.revoke_privilege_v2(user, "CollectionReadWrite", name, "default", timeout=CALL_SECONDS)
    root.drop_collection(name, timeout=CALL_SECONDS)


def test_a_new_user_and_a_changed_password_count_everywhere_at_once(secured, root, name):
    alive = [node for node in NODES if secured.alive(node)]
    root.create_user(name, PASSWORD, timeout=CALL_SECONDS)
    for node in alive:
        login(secured, node, name)
    login(secured, alive[-1], name).update_password(name, PASSWORD, "another", timeout=CALL_SECONDS)
    for node in alive:
        assert raw(secured, node, encoded(f"{name}:{PASSWORD}"))[1] == WRONG
        login(secured, node, name, "another")
    root.drop_user(name, timeout=CALL_SECONDS)
    for node in alive:
        assert raw(secured, node, encoded(f"{name}:another"))[1] == WRONG


def test_grants_hold_in_their_own_database(secured, node, root, user, name):
    root.grant_privilege_v2(user, "DatabaseAdmin", "*", "default", timeout=CALL_SECONDS)
    mine = login(secured, node, user)
    mine.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
    mine.drop_collection(name, timeout=CALL_SECONDS)
    request = milvus_pb2.CreateCollectionRequest(db_name="elsewhere", collection_name=name)
    code, text = raw(secured, node, encoded(f"{user}:{PASSWORD}"), request, "CreateCollection")
    expected = f"PrivilegeCreateCollection: permission deny to {user} in the `elsewhere` database"
    assert (code, text) == (grpc.StatusCode.PERMISSION_DENIED, expected)


def test_databases_and_aliases_by_grants_of_the_default_database_and_of_one_collection(root, everywhere, user, name):
    root.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
    for privilege in ["CreateDatabase", "DropDatabase"]:
        root.grant_privilege(user, "Global", privilege, "*", timeout=CALL_SECONDS)
    root.grant_privilege_v2(user, "CollectionAdmin", name, "default", timeout=CALL_SECONDS)
    for client in everywhere:
        client.create_database(name, timeout=CALL_SECONDS)
        client.drop_database(name, timeout=CALL_SECONDS)
        client.create_alias(name, f"a_{name}", timeout=CALL_SECONDS)
        assert client.describe_alias(f"a_{name}", timeout=CALL_SECONDS)["collection_name"] == name
        client.drop_alias(f"a_{name}", timeout=CALL_SECONDS)
    root.drop_collection(name, timeout=CALL_SECONDS)


def test_admins_groups_and_the_older_form(root, everywhere, user, name):
    group = f"g_{name}"
    root.create_privilege_group(group, timeout=CALL_SECONDS)
    root.add_privileges_to_group(group, ["CreateCollection", "DropCollection"], timeout=CALL_SECONDS)
    work = lambda client: (client.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS),
                           client.drop_collection(name, timeout=CALL_SECONDS))
    for give, take in [
        (lambda: root.grant_privilege_v2(user, group, "*", "*", timeout=CALL_SECONDS),
         lambda: root.revoke_privilege_v2(user, group, "*", "*", timeout=CALL_SECONDS)),
        (lambda: root.grant_privilege(user, "Global", "*", "*", timeout=CALL_SECONDS),
         lambda: root.revoke_privilege(user, "Global", "*", "*", timeout=CALL_SECONDS)),
        (lambda: root.grant_privilege(user, "Global", "All", "*", timeout=CALL_SECONDS),
         lambda: root.revoke_privilege(user, "Global", "All", "*", timeout=CALL_SECONDS)),
        (lambda: root.grant_role(user, "admin", timeout=CALL_SECONDS),
         lambda: root.revoke_role(user, "admin", timeout=CALL_SECONDS)),
    ]:
        give()
        for client in everywhere:
            work(client)
        take()
        for client in everywhere:
            denied(lambda: work(client), "PrivilegeCreateCollection", user)
    root.drop_privilege_group(group, timeout=CALL_SECONDS)


def test_conditions_and_explanations_by_roostctl(secured, root, everywhere, user, name):
    root.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
    root.grant_privilege_v2(user, "Insert", name, "default", timeout=CALL_SECONDS)
    insert = lambda client: client.insert(name, [{"id": 1, "title": "one", "embedding": [0.0] * 8}], timeout=CALL_SECONDS)
    place = ["--database", "default", "--collection", name]
    secured.command("ctl", "grant", "condition", user, "Insert", *place, "address == '10.1.2.3'")
    for client in everywhere:
        denied(lambda: insert(client), "PrivilegeInsert", user)
    why = secured.command("ctl", "grant", "explain", user, "Insert", *place, "--address", "127.0.0.1")
    assert why.startswith("denied: there are grants, but none of their conditions holds"), why
    secured.command("ctl", "grant", "condition", user, "Insert", *place, f"user == '{user}' && address == '127.0.0.1'")
    for client in everywhere:
        with pytest.raises(MilvusException) as error:
            insert(client)
        assert error.value.code == 10
    why = secured.command("ctl", "grant", "explain", user, "Insert", *place, "--address", "127.0.0.1")
    assert why.startswith(f"allowed: the role {user} has Insert on default.{name}"), why
    with pytest.raises(AssertionError, match="the condition is refused"):
        secured.command("ctl", "grant", "condition", user, "Insert", *place, "usr == 'a'")
    root.drop_collection(name, timeout=CALL_SECONDS)


def test_denied_and_writing_calls_are_in_the_audit_log(secured, everywhere, user, name):
    for client in everywhere:
        denied(lambda: client.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS),
               "PrivilegeCreateCollection", user)
    logs = secured.logs()
    lines = [line for line in logs.splitlines() if " audit" in line and user in line]
    assert any('outcome="denied"' in line and "CreateCollection" in line and name in line for line in lines), lines
    # Root made the user, through one of the nodes.
    assert any('method="CreateCredential"' in line and 'outcome="done"' in line for line in lines), lines
    assert PASSWORD not in logs


def kill_the_leader_while_a_user_works(cluster):
    """A user with a grant works through the survivors: it waits, but is never denied."""
    leader = cluster.leader()
    survivors = [node for node in NODES if node != leader]
    root = login(cluster, survivors[0], "root", "Milvus")
    worker = f"w{uuid.uuid4().hex[:12]}"
    root.create_user(worker, PASSWORD, timeout=CALL_SECONDS)
    root.grant_role(worker, "admin", timeout=CALL_SECONDS)
    stop, errors, done = threading.Event(), [], []

    def work(node):
        client = login(cluster, node, worker)
        while not stop.is_set():
            try:
                client.list_users(timeout=CALL_SECONDS)
                done.append(time.monotonic())
            except (MilvusException, grpc.RpcError) as error:
                errors.append(str(error))
                return

    threads = [threading.Thread(target=work, args=(node,), daemon=True) for node in survivors]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    killed = time.monotonic()
    cluster.kill(leader)
    deadline = killed + FAILOVER_SECONDS
    while not errors and not any(when > killed + 1.0 for when in done):
        assert time.monotonic() < deadline, "nothing was answered after the leader was killed"
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(CALL_SECONDS * 2)
    assert not errors, errors
    root.drop_user(worker, timeout=CALL_SECONDS)
