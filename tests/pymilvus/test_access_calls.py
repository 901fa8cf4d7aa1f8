"""Users, roles, grants and privilege groups: every call of MilvusClient and the ORM about them, without authorization."""

import time

import pytest
from local_cluster import CALL_SECONDS
from pymilvus import MilvusClient, MilvusException, Role, connections, utility

PASSWORD = "pass-word"
GROUPS = ["ClusterReadOnly", "ClusterReadWrite", "ClusterAdmin", "DatabaseReadOnly", "DatabaseReadWrite",
          "DatabaseAdmin", "CollectionReadOnly", "CollectionReadWrite", "CollectionAdmin"]

# 22 for each of four roles: more than 64 on one collection.
ON_A_COLLECTION = (
    "Compaction", "CreateIndex", "CreatePartition", "Delete", "DropIndex", "DropPartition", "Flush", "GetFlushState",
    "GetLoadState", "GetLoadingProgress", "GetStatistics", "HasPartition", "Import", "IndexDetail", "Insert", "Load",
    "LoadBalance", "Query", "Release", "Search", "ShowPartitions", "Upsert",
)


@pytest.fixture
def refused():
    def call(code, text, work):
        with pytest.raises(MilvusException) as error:
            work()
        assert (error.value.code, text in error.value.message) == (code, True), error.value

    return call


@pytest.fixture
def user(client, name):
    client.create_user(name, PASSWORD, timeout=CALL_SECONDS)
    yield name
    client.drop_user(name, timeout=CALL_SECONDS)


@pytest.fixture
def role(client, name):
    client.create_role(name, timeout=CALL_SECONDS)
    yield name
    client.drop_role(name, force_drop=True, timeout=CALL_SECONDS)


@pytest.fixture
def group(client, name):
    client.create_privilege_group(f"group_{name}", timeout=CALL_SECONDS)
    yield f"group_{name}"
    client.drop_privilege_group(f"group_{name}", timeout=CALL_SECONDS)


@pytest.fixture
def orm(cluster, node):
    alias = f"orm_{node}"
    connections.connect(alias, uri=cluster.uri(node), timeout=CALL_SECONDS)
    yield alias
    connections.disconnect(alias)


def wait_for_root(client):
    """The leader of a new cluster writes its first user a moment after the cluster answers."""
    give_up = time.monotonic() + CALL_SECONDS
    while "root" not in client.list_users(timeout=CALL_SECONDS):
        assert time.monotonic() < give_up, "a new cluster has no root"
        time.sleep(0.05)


def test_users(client, others, user):
    wait_for_root(client)
    for reader in [client, *others]:
        listed = reader.list_users(timeout=CALL_SECONDS)
        assert "root" in listed and user in listed
        assert reader.describe_user(user, timeout=CALL_SECONDS) == {"user_name": user, "roles": (), "description": ""}
    assert client.describe_user("nobody", timeout=CALL_SECONDS) == {}
    client.update_password(user, PASSWORD, "another", description="who", timeout=CALL_SECONDS)
    assert client.describe_user(user, timeout=CALL_SECONDS)["description"] == "who"
    client.update_password(user, "another", PASSWORD, timeout=CALL_SECONDS)
    client.drop_user("nobody", timeout=CALL_SECONDS)


def test_refused_users(client, user, refused):
    create = lambda name, password=PASSWORD: lambda: client.create_user(name, password, timeout=CALL_SECONDS)
    refused(1100, f"user already exists: {user}", create(user))
    refused(1100, "user already exists: root", create("root"))
    refused(1100, "the first character must be a letter, but got 1", create("1st"))
    refused(1100, "username must contain only numbers, letters, underscores, dots, and hyphens", create("a b"))
    refused(1100, "the length of username must be less than 32", create("u" * 33))
    refused(1100, "invalid password length", create("short", "12345"))
    refused(1100, "invalid password length", create("long", "x" * 73))
    change = lambda old, new: lambda: client.update_password(user, old, new, timeout=CALL_SECONDS)
    refused(1400, f"old password not correct for {user}", change("wrong-one", "another"))
    refused(1100, "invalid password length", change(PASSWORD, "12345"))
    refused(1401, "root user cannot be deleted", lambda: client.drop_user("root", timeout=CALL_SECONDS))


def test_roles(client, others, role, user):
    for reader in [client, *others]:
        assert {"admin", "public", role} <= set(reader.list_roles(timeout=CALL_SECONDS))
    client.alter_role(role, "what it is for", timeout=CALL_SECONDS)
    assert client.describe_role(role, timeout=CALL_SECONDS)["description"] == "what it is for"
    client.grant_role(user, role, timeout=CALL_SECONDS)
    client.grant_role(user, role, timeout=CALL_SECONDS)
    for reader in [client, *others]:
        assert list(reader.describe_user(user, timeout=CALL_SECONDS)["roles"]) == [role]
    client.revoke_role(user, role, timeout=CALL_SECONDS)
    assert list(client.describe_user(user, timeout=CALL_SECONDS)["roles"]) == []


def test_refused_roles(client, role, user, refused):
    refused(1100, f'role [name:"{role}"] already exists', lambda: client.create_role(role, timeout=CALL_SECONDS))
    refused(1100, "the first character of role name must be", lambda: client.create_role("1", timeout=CALL_SECONDS))
    for built_in in ["admin", "public"]:
        text = f"the role[{built_in}] is a default role, which can't be dropped"
        refused(1401, text, lambda: client.drop_role(built_in, timeout=CALL_SECONDS))
    refused(1100, "not found the role", lambda: client.drop_role("none", timeout=CALL_SECONDS))
    refused(1100, "not found the role", lambda: client.grant_role(user, "none", timeout=CALL_SECONDS))
    refused(1100, "not found", lambda: client.grant_role("nobody", role, timeout=CALL_SECONDS))


def test_the_number_of_roles_is_limited(client, name, refused):
    made = []
    try:
        with pytest.raises(MilvusException) as error:
            for number in range(10):
                client.create_role(f"{name}_{number}", timeout=CALL_SECONDS)
                made.append(f"{name}_{number}")
        assert error.value.code == 9 and "the number of roles has reached the limit" in error.value.message
        assert len(client.list_roles(timeout=CALL_SECONDS)) == 10
    finally:
        for one in made:
            client.drop_role(one, timeout=CALL_SECONDS)


def test_grants_by_object_type(client, others, role, refused):
    client.grant_privilege(role, "Collection", "Insert", "books", timeout=CALL_SECONDS)
    # What is global knows no object.
    client.grant_privilege(role, "Global", "CreateCollection", "books", timeout=CALL_SECONDS)
    expected = {("Collection", "books", "Insert"), ("Global", "*", "CreateCollection")}
    for reader in [client, *others]:
        grants = reader.describe_role(role, timeout=CALL_SECONDS)["privileges"]
        assert {(g["object_type"], g["object_name"], g["privilege"]) for g in grants} == expected
        assert {g["grantor_name"] for g in grants} == {"root"} and {g["db_name"] for g in grants} == {"default"}
    refused(1100, "fail to drop the role that it has privileges", lambda: client.drop_role(role, timeout=CALL_SECONDS))
    client.revoke_privilege(role, "Collection", "Insert", "books", timeout=CALL_SECONDS)
    client.revoke_privilege(role, "Collection", "Insert", "books", timeout=CALL_SECONDS)
    assert len(client.describe_role(role, timeout=CALL_SECONDS)["privileges"]) == 1
    wrong = lambda *what: lambda: client.grant_privilege(role, *what, timeout=CALL_SECONDS)
    refused(1100, "not found the object type[name: Nothing]", wrong("Nothing", "Insert", "books"))
    refused(1100, "not found the privilege name[CreateCollection] in object[Collection]",
            wrong("Collection", "CreateCollection", "*"))
    refused(1100, "can not operate the built-in privilege group [ClusterAdmin]", wrong("Global", "ClusterAdmin", "*"))
    refused(1100, 'the role "none" does not exist', lambda: client.grant_privilege(
        "none", "Global", "CreateCollection", "*", timeout=CALL_SECONDS))


def test_grants_by_name_and_level(client, others, role, group, refused):
    grant = lambda *what: client.grant_privilege_v2(role, *what, timeout=CALL_SECONDS)
    grant("CollectionReadOnly", "books", "default")
    grant("DatabaseAdmin", "*", "default")
    grant("ClusterReadOnly", "*", "*")
    grant("Search", "books")
    client.add_privileges_to_group(group, ["Query", "Search"], timeout=CALL_SECONDS)
    grant(group, "*", "default")
    for reader in [client, *others]:
        grants = reader.describe_role(role, timeout=CALL_SECONDS)["privileges"]
        assert {(g["privilege"], g["db_name"], g["object_name"]) for g in grants} == {
            ("CollectionReadOnly", "default", "books"), ("DatabaseAdmin", "default", "*"),
            ("ClusterReadOnly", "*", "*"), ("Search", "default", "books"), (group, "default", "*"),
        }
    text = f"privilege group [{group}] is used by role [{role}], Use REVOKE API to revoke it first"
    refused(1100, text, lambda: client.drop_privilege_group(group, timeout=CALL_SECONDS))
    client.revoke_privilege_v2(role, group, "*", "default", timeout=CALL_SECONDS)
    refused(1100, "dbName and collectionName should be * for the cluster level privilege: ClusterAdmin",
            lambda: grant("ClusterAdmin", "*", "default"))
    refused(1100, "collectionName should be * for the database level privilege: DatabaseAdmin",
            lambda: grant("DatabaseAdmin", "books", "default"))
    refused(1100, "please specify database name for the collection level privilege: CollectionAdmin",
            lambda: grant("CollectionAdmin", "books", "*"))
    refused(1100, "not found the privilege name[Nonsense]", lambda: grant("Nonsense", "*", "*"))


def test_privilege_groups(client, others, group, refused):
    client.add_privileges_to_group(group, ["Load", "CollectionReadOnly"], timeout=CALL_SECONDS)
    client.remove_privileges_from_group(group, ["Load"], timeout=CALL_SECONDS)
    for reader in [client, *others]:
        listed = {one["privilege_group"]: one["privileges"]
                  for one in reader.list_privilege_groups(timeout=CALL_SECONDS)}
        assert set(GROUPS) <= set(listed) and "CreateCollection" in listed["DatabaseAdmin"]
        assert list(listed[group]) == ["CollectionReadOnly"]
    add = lambda *names: lambda: client.add_privileges_to_group(group, list(names), timeout=CALL_SECONDS)
    refused(1100, "privileges are not the same privilege level", add("CreateDatabase"))
    refused(1100, "there is no privilege name or privilege group name [Nonsense] defined in system", add("Nonsense"))
    create = lambda name: lambda: client.create_privilege_group(name, timeout=CALL_SECONDS)
    refused(1100, f"privilege group name [{group}] is defined by users", create(group))
    refused(1100, "is defined by built in privileges or privilege groups in system", create("ClusterAdmin"))
    refused(1402, "the first character of a privilege group name 1 must be an underscore or letter", create("1"))


def test_the_orms_functions(orm, name):
    utility.create_user(name, PASSWORD, using=orm)
    utility.update_password(name, PASSWORD, "another", using=orm)
    utility.reset_password(name, "another", PASSWORD, using=orm)
    assert name in utility.list_usernames(using=orm)
    role = Role(name, using=orm)
    role.create()
    assert role.is_exist() and not Role("none", using=orm).is_exist()
    role.add_user(name)
    assert list(role.get_users()) == [name]
    assert [(one.username, list(one.roles)) for one in utility.list_user(name, True, using=orm).groups] == [(name, [name])]
    listed = {one.role_name: list(one.users) for one in utility.list_roles(True, using=orm).groups}
    assert listed[name] == [name]
    role.grant("Collection", "books", "Search")
    role.grant_v2("Load", "books", db_name="default")
    assert [one.privilege for one in role.list_grant("Collection", "books").groups] == ["Load", "Search"]
    assert len(role.list_grants().groups) == 2
    role.revoke("Collection", "books", "Search")
    role.revoke_v2("Load", "books", db_name="default")
    role.create_privilege_group(f"orm_{name}")
    role.add_privileges_to_group(f"orm_{name}", ["Search"])
    assert f"orm_{name}" in [one.privilege_group for one in role.list_privilege_groups().groups]
    role.remove_privileges_from_group(f"orm_{name}", ["Search"])
    role.drop_privilege_group(f"orm_{name}")
    role.remove_user(name)
    role.drop()
    utility.delete_user(name, using=orm)
    assert name not in utility.list_usernames(using=orm)


def test_a_dropped_collections_grants_are_gone(client, create, drop, role, name):
    create(name)
    client.grant_privilege(role, "Collection", "Insert", name, timeout=CALL_SECONDS)
    drop(name)
    assert client.describe_role(role, timeout=CALL_SECONDS)["privileges"] == []


def test_many_grants_move_with_their_collection_and_go_with_it(client, others, create, drop, name):
    """More than one entry of the log may touch: what is seen is the same, before they are swept and afterwards."""
    create(name)
    roles = [f"{name}_{number}" for number in range(4)]
    try:
        for role in roles:
            client.create_role(role, timeout=CALL_SECONDS)
            for privilege in ON_A_COLLECTION:
                client.grant_privilege(role, "Collection", privilege, name, timeout=CALL_SECONDS)

        def granted(client, role):
            lines = client.describe_role(role, timeout=CALL_SECONDS)["privileges"]
            return sorted((line["object_name"], line["privilege"]) for line in lines)

        client.rename_collection(name, f"{name}_new", timeout=CALL_SECONDS)
        moved = sorted((f"{name}_new", privilege) for privilege in ON_A_COLLECTION)
        for role in roles:
            assert all(granted(other, role) == moved for other in [client, *others])
        # The old name is free, and who may do what on the new one has not changed by what is granted there.
        create(name)
        client.grant_privilege(roles[0], "Collection", "Insert", name, timeout=CALL_SECONDS)
        assert granted(client, roles[0]) == sorted([*moved, (name, "Insert")])
        client.revoke_privilege(roles[1], "Collection", "Insert", f"{name}_new", timeout=CALL_SECONDS)
        assert (f"{name}_new", "Insert") not in granted(client, roles[1])
        client.drop_role(roles[3], force_drop=True, timeout=CALL_SECONDS)
        client.create_role(roles[3], timeout=CALL_SECONDS)
        assert granted(client, roles[3]) == []
        client.drop_collection(f"{name}_new", timeout=CALL_SECONDS)
        for role in roles[1:]:
            assert all(granted(other, role) == [] for other in [client, *others])
        assert granted(client, roles[0]) == [(name, "Insert")]
    finally:
        for role in roles:
            client.drop_role(role, force_drop=True, timeout=CALL_SECONDS)
        client.drop_collection(f"{name}_new", timeout=CALL_SECONDS)
        drop(name)


def test_a_client_without_authorization_may_say_any_password(cluster, node):
    client = MilvusClient(uri=cluster.uri(node), user="root", password="wrong-one", timeout=CALL_SECONDS)
    assert "root" in client.list_users(timeout=CALL_SECONDS)
