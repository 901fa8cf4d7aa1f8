//! Databases, partitions and aliases, through both services of any node.

use super::*;
use crate::pb::rootcoord;
use crate::pb::schema::FieldSchema;

type Milvus = MilvusServiceClient<Channel>;

/// The code and text of a call's answer, whatever its type.
macro_rules! verdict {
    ($call:expr) => {{
        let status: common::Status = Answer::status($call.await.unwrap().into_inner());
        (status.code, status.reason)
    }};
}

/// Where an answer keeps its status.
trait Answer {
    fn status(self) -> common::Status;
}

impl Answer for common::Status {
    fn status(self) -> common::Status {
        self
    }
}

macro_rules! answers {
    ($($answer:ty),*) => { $(
        impl Answer for $answer {
            fn status(self) -> common::Status {
                self.status.unwrap()
            }
        }
    )* };
}

answers!(
    BoolResponse,
    DescribeAliasResponse,
    DescribeCollectionResponse,
    DescribeDatabaseResponse,
    GetPartitionStatisticsResponse,
    ListAliasesResponse,
    ShowPartitionsResponse
);

fn done() -> (i32, String) {
    (0, String::new())
}

fn properties(pairs: &[(&str, &str)]) -> Vec<KeyValuePair> {
    pairs.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect()
}

fn new_database(name: &str, pairs: &[(&str, &str)]) -> CreateDatabaseRequest {
    CreateDatabaseRequest { db_name: name.into(), properties: properties(pairs), ..Default::default() }
}

fn drop_database(name: &str) -> DropDatabaseRequest {
    DropDatabaseRequest { db_name: name.into(), ..Default::default() }
}

fn alter_database(name: &str, pairs: &[(&str, &str)], delete: &[&str]) -> AlterDatabaseRequest {
    let delete_keys = delete.iter().map(ToString::to_string).collect();
    AlterDatabaseRequest { db_name: name.into(), properties: properties(pairs), delete_keys, ..Default::default() }
}

fn describe_database(name: &str) -> DescribeDatabaseRequest {
    DescribeDatabaseRequest { db_name: name.into(), ..Default::default() }
}

fn new_partition(collection: &str, name: &str) -> CreatePartitionRequest {
    let (collection_name, partition_name) = (collection.into(), name.into());
    CreatePartitionRequest { collection_name, partition_name, ..Default::default() }
}

fn drop_partition(collection: &str, name: &str) -> DropPartitionRequest {
    let (collection_name, partition_name) = (collection.into(), name.into());
    DropPartitionRequest { collection_name, partition_name, ..Default::default() }
}

fn has_partition(collection: &str, name: &str) -> HasPartitionRequest {
    let (collection_name, partition_name) = (collection.into(), name.into());
    HasPartitionRequest { collection_name, partition_name, ..Default::default() }
}

fn partition_statistics(collection: &str, name: &str) -> GetPartitionStatisticsRequest {
    let (collection_name, partition_name) = (collection.into(), name.into());
    GetPartitionStatisticsRequest { collection_name, partition_name, ..Default::default() }
}

fn show_partitions(collection: &str) -> ShowPartitionsRequest {
    ShowPartitionsRequest { collection_name: collection.into(), ..Default::default() }
}

fn new_alias(collection: &str, alias: &str) -> CreateAliasRequest {
    CreateAliasRequest { collection_name: collection.into(), alias: alias.into(), ..Default::default() }
}

fn alter_alias(collection: &str, alias: &str) -> AlterAliasRequest {
    AlterAliasRequest { collection_name: collection.into(), alias: alias.into(), ..Default::default() }
}

fn drop_alias(alias: &str) -> DropAliasRequest {
    DropAliasRequest { alias: alias.into(), ..Default::default() }
}

fn describe_alias(alias: &str) -> DescribeAliasRequest {
    DescribeAliasRequest { alias: alias.into(), ..Default::default() }
}

fn list_aliases(collection: &str) -> ListAliasesRequest {
    ListAliasesRequest { collection_name: collection.into(), ..Default::default() }
}

fn rename(old: &str, new: &str) -> RenameCollectionRequest {
    RenameCollectionRequest { old_name: old.into(), new_name: new.into(), ..Default::default() }
}

fn drop_collection(name: &str) -> DropCollectionRequest {
    DropCollectionRequest { collection_name: name.into(), ..Default::default() }
}

/// A call of a connection that uses this database.
fn within<T>(database: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("dbname", MetadataValue::from_static(database));
    request
}

async fn databases(client: &mut Milvus) -> ListDatabasesResponse {
    client.list_databases(ListDatabasesRequest::default()).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_lives_through_any_node() {
    let nodes = cluster().await;
    let (mut one, mut two, mut three) = (nodes[0].milvus().await, nodes[1].milvus().await, nodes[2].milvus().await);
    assert_eq!(verdict!(three.create_database(new_database("shelf", &[("owner", "me")]))), done());
    let listed = databases(&mut two).await;
    assert_eq!((listed.db_names.as_slice(), listed.db_ids[0]), (&["default".into(), "shelf".into()][..], 1));
    assert!(listed.created_timestamp.iter().all(|ts| *ts > 0) && listed.created_timestamp.len() == 2);

    let found = one.describe_database(describe_database("shelf")).await.unwrap().into_inner();
    assert_eq!((found.db_id, found.created_timestamp), (listed.db_ids[1], listed.created_timestamp[1]));
    assert_eq!(found.properties, properties(&[("owner", "me")]));
    let changed = alter_database("shelf", &[("database.max.collections", "1")], &[]);
    assert_eq!(verdict!(two.alter_database(changed)), done());
    assert_eq!(verdict!(two.alter_database(alter_database("shelf", &[], &["owner"]))), done());
    let mut coordinator = nodes[2].rootcoord().await;
    let asked = rootcoord::DescribeDatabaseRequest { db_name: "shelf".into(), ..Default::default() };
    let inside = coordinator.describe_database(asked).await.unwrap().into_inner();
    assert_eq!(inside.properties, properties(&[("database.max.collections", "1")]));
    assert_eq!((inside.db_name.as_str(), inside.db_id), ("shelf", found.db_id));
    // A connection's database is described when none is named.
    let unnamed = one.describe_database(within("shelf", describe_database(""))).await.unwrap().into_inner();
    assert_eq!(unnamed.db_name, "shelf");

    // Names of collections are a database's own, and so is the limit.
    assert_eq!(verdict!(three.create_collection(within("shelf", new_collection("c")))), done());
    assert_eq!(verdict!(three.create_collection(new_collection("c"))), done());
    assert_eq!(verdict!(three.create_collection(within("shelf", new_collection("d")))).0, 102);
    assert_eq!(verdict!(one.drop_database(drop_database("shelf"))).0, 1100);
    assert_eq!(verdict!(one.drop_collection(within("shelf", drop_collection("c")))), done());
    assert_eq!(verdict!(one.drop_database(drop_database("shelf"))), done());
    assert_eq!(databases(&mut three).await.db_names, ["default"]);
    assert_eq!(verdict!(one.describe_collection(describe("c"))), done());
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_refused_in_milvus_words() {
    let nodes = cluster().await;
    let mut client = nodes[1].milvus().await;
    assert_eq!(verdict!(client.create_database(new_database("a", &[]))), done());
    let expected = |code: i32, text: &str| (code, text.to_owned());
    for (name, code, text) in [
        ("a", 1100, "database already exist: a: invalid parameter"),
        ("default", 1100, "database already exist: default: invalid parameter"),
        ("", 802, "database name couldn't be empty: invalid database name[database=]"),
        (
            "a-b",
            802,
            "database name can only contain numbers, letters and underscores: invalid database name[database=a-b]",
        ),
    ] {
        assert_eq!(verdict!(client.create_database(new_database(name, &[]))), expected(code, text));
    }
    for (pairs, code, text) in [
        ([("timezone", "Berlin")], 1100, "unknown or invalid IANA Time Zone ID: Berlin: invalid parameter"),
        (
            [("database.replica.number", "x")],
            1100,
            "invalid database property: [key=database.replica.number] [value=x]: invalid parameter",
        ),
        (
            [("cipher.enabled", "true")],
            3000,
            "failed to tidy database cipher properties: cipher plugin is missing: unsupported operation",
        ),
    ] {
        assert_eq!(verdict!(client.create_database(new_database("b", &pairs))), expected(code, text));
    }
    for (name, code, text) in [
        ("", 802, "database name couldn't be empty: invalid database name[database=]"),
        ("default", 1100, "can not drop default database: invalid parameter"),
        ("b", 800, "database not found[database=b]"),
    ] {
        assert_eq!(verdict!(client.drop_database(drop_database(name))), expected(code, text));
    }
    for (request, code, text) in [
        (
            alter_database("", &[("k", "v")], &[]),
            1100,
            "alter database failed, database name does not exists: invalid parameter",
        ),
        (
            alter_database("a", &[], &[]),
            1100,
            "alter database with empty properties and delete keys, expected to set either properties or delete keys: \
             invalid parameter",
        ),
        (
            alter_database("a", &[("k", "v")], &["k"]),
            1100,
            "alter database cannot modify properties and delete keys at the same time: invalid parameter",
        ),
        (alter_database("a", &[], &["cipher.key"]), 1100, "can not alter cipher related properties: invalid parameter"),
        (
            alter_database("a", &[("replicate.id", "x")], &[]),
            1100,
            "can't set the replicate id property in alter database request: invalid parameter",
        ),
        (alter_database("b", &[("k", "v")], &[]), 800, "database not found[database=b]"),
    ] {
        assert_eq!(verdict!(client.alter_database(request)), expected(code, text));
    }
    let missing = expected(800, "database not found[database=b]");
    assert_eq!(verdict!(client.describe_database(describe_database("b"))), missing);
    assert_eq!(verdict!(client.create_alias(within("b", new_alias("c", "x")))), missing);
    assert_eq!(verdict!(client.drop_alias(within("b", drop_alias("x")))), missing);
    assert_eq!(verdict!(client.show_partitions(within("b", show_partitions("c")))), missing);
    assert_eq!(databases(&mut client).await.db_names, ["a", "default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_live_through_any_node() {
    let nodes = cluster().await;
    let (mut one, mut two, mut three) = (nodes[0].milvus().await, nodes[1].milvus().await, nodes[2].milvus().await);
    assert_eq!(verdict!(one.create_collection(new_collection("c"))), done());
    for again in [" p ", "p"] {
        assert_eq!(verdict!(three.create_partition(new_partition("c", again))), done());
    }
    assert_eq!(verdict!(two.create_partition(new_partition("c", "2024-01"))), done());
    let shown = one.show_partitions(show_partitions("c")).await.unwrap().into_inner();
    assert_eq!(shown.partition_names, ["_default", "p", "2024-01"]);
    assert!(shown.partition_i_ds.is_sorted() && shown.partition_i_ds.len() == 3);
    let utc: Vec<u64> = shown.created_timestamps.iter().map(|ts| ts >> 18).collect();
    assert_eq!((shown.created_utc_timestamps, shown.in_memory_percentages), (utc, vec![]));
    let described = two.describe_collection(describe("c")).await.unwrap().into_inner();
    assert_eq!(described.num_partitions, 3);
    let by_id = ShowPartitionsRequest { collection_id: described.collection_id, ..Default::default() };
    let inside = nodes[1].rootcoord().await.show_partitions_internal(by_id).await.unwrap().into_inner();
    assert_eq!(inside.partition_i_ds, shown.partition_i_ds);
    let loaded = ShowPartitionsRequest { r#type: ShowType::InMemory.into(), ..show_partitions("c") };
    assert_eq!(one.show_partitions(loaded).await.unwrap().into_inner().partition_names, [""; 0]);

    for (name, there) in [("p", true), ("_default", true), ("q", false)] {
        let has = three.has_partition(has_partition("c", name)).await.unwrap().into_inner();
        assert_eq!((has.status.unwrap().code, has.value), (0, there), "{name}");
    }
    let counted = two.get_partition_statistics(partition_statistics("c", "p")).await.unwrap().into_inner();
    assert_eq!(counted.stats, properties(&[("row_count", "0")]));
    for _ in 0..2 {
        assert_eq!(verdict!(two.drop_partition(drop_partition("c", "p"))), done(), "dropping again is a success");
    }
    let left = one.show_partitions(show_partitions("c")).await.unwrap().into_inner();
    assert_eq!(left.partition_names, ["_default", "2024-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_refused_in_milvus_words() {
    let nodes = cluster().await;
    let mut client = nodes[2].milvus().await;
    assert_eq!(verdict!(client.create_collection(new_collection("c"))), done());
    let mut keyed = new_collection("keyed");
    let mut declared = CollectionSchema::decode(keyed.schema.as_slice()).unwrap();
    declared.fields.push(FieldSchema {
        name: "tenant".into(),
        is_partition_key: true,
        data_type: DataType::Int64.into(),
        ..FieldSchema::default()
    });
    keyed.schema = declared.encode_to_vec();
    assert_eq!(verdict!(client.create_collection(keyed)), done());

    let missing = (100, "collection not found[database=default][collection=none]".to_owned());
    assert_eq!(verdict!(client.create_partition(new_partition("none", "p"))), missing);
    assert_eq!(verdict!(client.drop_partition(drop_partition("none", "p"))), missing);
    assert_eq!(verdict!(client.has_partition(has_partition("none", "p"))), missing);
    assert_eq!(verdict!(client.show_partitions(show_partitions("none"))), missing);
    assert_eq!(verdict!(client.get_partition_statistics(partition_statistics("none", "p"))), missing);
    let absent = (200, "partition not found[partition=p]".to_owned());
    assert_eq!(verdict!(client.get_partition_statistics(partition_statistics("c", "p"))), absent);
    for (name, text) in [
        ("", "Invalid partition name: . Partition name should not be empty.: invalid parameter"),
        (
            "-p",
            "Invalid partition name: -p. The first character of a partition name must be an underscore or letter.: \
             invalid parameter",
        ),
        (
            "a b",
            "Invalid partition name: a b. Partition name can only contain numbers, letters and underscores.: invalid \
             parameter",
        ),
    ] {
        let refusal = (1100, text.to_owned());
        assert_eq!(verdict!(client.create_partition(new_partition("c", name))), refusal);
        assert_eq!(verdict!(client.drop_partition(drop_partition("c", name))), refusal);
        assert_eq!(verdict!(client.has_partition(has_partition("c", name))), refusal);
    }
    let nameless = (1100, "collection name should not be empty: invalid parameter".to_owned());
    assert_eq!(verdict!(client.create_partition(new_partition("", "p"))), nameless);
    assert_eq!(verdict!(client.show_partitions(show_partitions(""))), nameless);
    let refused = |text: &str| (1100, format!("{text}: invalid parameter"));
    let dropped = verdict!(client.drop_partition(drop_partition("c", "_default")));
    assert_eq!(dropped, refused("default partition cannot be deleted"));
    let created = verdict!(client.create_partition(new_partition("keyed", "p")));
    assert_eq!(created, refused("disable create partition if partition key mode is used"));
    let dropped = verdict!(client.drop_partition(drop_partition("keyed", "_default_0")));
    assert_eq!(dropped, refused("disable drop partition if partition key mode is used"));
    let shown = client.show_partitions(show_partitions("keyed")).await.unwrap().into_inner();
    assert_eq!((shown.partition_names.len(), shown.partition_names[15].as_str()), (16, "_default_15"));
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_live_through_any_node() {
    let nodes = cluster().await;
    let (mut one, mut two, mut three) = (nodes[0].milvus().await, nodes[1].milvus().await, nodes[2].milvus().await);
    for name in ["c", "d"] {
        assert_eq!(verdict!(one.create_collection(new_collection(name))), done());
    }
    for alias in ["y", "x", " x "] {
        assert_eq!(verdict!(three.create_alias(new_alias("c", alias))), done());
    }
    let found = two.describe_alias(describe_alias("x")).await.unwrap().into_inner();
    assert_eq!((found.db_name, found.alias, found.collection), ("default".into(), "x".into(), "c".into()));
    let described = two.describe_collection(describe("x")).await.unwrap().into_inner();
    assert_eq!((described.collection_name.as_str(), described.aliases), ("c", vec!["x".into(), "y".into()]));
    let listed = one.list_aliases(list_aliases("c")).await.unwrap().into_inner();
    assert_eq!((listed.collection_name.as_str(), listed.aliases), ("c", vec!["x".into(), "y".into()]));

    // What names a collection takes an alias.
    assert_eq!(verdict!(two.create_partition(new_partition("x", "p"))), done());
    let has = two.has_partition(has_partition("y", "p")).await.unwrap().into_inner();
    assert!(has.value);
    let there = HasCollectionRequest { collection_name: "x".into(), ..Default::default() };
    assert!(nodes[0].rootcoord().await.has_collection(there).await.unwrap().into_inner().value);
    let altered = AlterCollectionRequest {
        collection_name: "x".into(),
        properties: properties(&[("k", "v")]),
        ..Default::default()
    };
    assert_eq!(verdict!(one.alter_collection(altered)), done());
    let described = nodes[2].rootcoord().await.describe_collection(describe("y")).await.unwrap().into_inner();
    let set = properties(&[("k", "v"), ("timezone", "UTC")]);
    assert_eq!((described.properties, described.num_partitions), (set, 2));

    assert_eq!(verdict!(two.alter_alias(alter_alias("d", "x"))), done());
    assert_eq!(three.describe_collection(describe("x")).await.unwrap().into_inner().collection_name, "d");
    let all = three.list_aliases(list_aliases("")).await.unwrap().into_inner();
    assert_eq!(all.aliases, ["x", "y"]);
    for alias in ["x", "x", "never"] {
        assert_eq!(verdict!(one.drop_alias(drop_alias(alias))), done(), "{alias}");
    }
    assert_eq!(verdict!(two.drop_collection(drop_collection("d"))), done());
    assert_eq!(two.list_aliases(list_aliases("")).await.unwrap().into_inner().aliases, ["y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_refused_in_milvus_words() {
    let nodes = cluster().await;
    let mut client = nodes[1].milvus().await;
    for name in ["c", "d"] {
        assert_eq!(verdict!(client.create_collection(new_collection(name))), done());
    }
    assert_eq!(verdict!(client.create_alias(new_alias("c", "x"))), done());
    for (collection, alias, code, text) in [
        ("c", "", 1100, "collection alias should not be empty: invalid parameter"),
        (
            "c",
            "9x",
            1100,
            "Invalid collection alias: 9x. the first character of a collection alias must be an underscore or letter: \
             invalid parameter",
        ),
        ("", "y", 1100, "collection name should not be empty: invalid parameter"),
        ("none", "y", 100, "collection not found[database=default][collection=none]"),
        ("x", "y", 100, "collection not found[database=default][collection=x]"),
        ("c", "d", 1601, "alias and collection name conflict[database=default][alias=d]"),
    ] {
        let expected = (code, text.to_owned());
        assert_eq!(verdict!(client.create_alias(new_alias(collection, alias))), expected);
        assert_eq!(verdict!(client.alter_alias(alter_alias(collection, alias))), expected);
    }
    let taken = "x is alias to another collection: c: alias already exist[database=default][alias=x]";
    assert_eq!(verdict!(client.create_alias(new_alias("d", "x"))), (1602, taken.to_owned()));
    let missing = (1600, "alias not found[database=default][alias=y]".to_owned());
    assert_eq!(verdict!(client.alter_alias(alter_alias("c", "y"))), missing);
    assert_eq!(verdict!(client.describe_alias(describe_alias("y"))), missing);
    let own = (1600, "alias not found[database=default][alias=c]".to_owned());
    assert_eq!(verdict!(client.describe_alias(describe_alias("c"))), own);
    assert_eq!(verdict!(client.describe_alias(describe_alias("-"))).0, 1100);
    for bad in ["", "9x", "no name"] {
        assert_eq!(verdict!(client.drop_alias(drop_alias(bad))).0, 1100, "{bad}");
    }
    assert_eq!(verdict!(client.list_aliases(list_aliases("x"))).0, 100);

    let taken = "collection name [x] conflicts with an existing alias, please choose a unique name";
    assert_eq!(verdict!(client.create_collection(new_collection("x"))), (65535, taken.to_owned()));
    let refused = |text: &str| (1100, format!("{text}: invalid parameter"));
    let renamed = verdict!(client.rename_collection(rename("x", "z")));
    assert_eq!(renamed, refused("unsupported use an alias to rename collection, alias:x"));
    assert_eq!(verdict!(client.rename_collection(rename("d", "x"))).0, 1601);
    let dropped = verdict!(client.drop_collection(drop_collection("x")));
    assert_eq!(dropped, refused("cannot drop the collection via alias = x"));
    let dropped = verdict!(client.drop_collection(drop_collection("c")));
    let text = "unable to drop the collection [c] because it has associated aliases [x], please remove all aliases \
                before dropping the collection";
    assert_eq!(dropped, refused(text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_know_a_command_yet_is_given_time() {
    let nodes = cluster().await;
    let leader = &nodes[0].replica;
    assert_eq!(verdict!(nodes[1].milvus().await.create_collection(new_collection("c"))), done());
    leader.outdated.store(true, Ordering::Relaxed);
    let mut client = nodes[1].milvus().await;
    let asked = tokio::spawn(async move { verdict!(client.create_alias(new_alias("c", "x"))) });
    while leader.refused.load(Ordering::Relaxed) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!asked.is_finished());
    leader.outdated.store(false, Ordering::Relaxed);
    assert_eq!(asked.await.unwrap(), done());
}
