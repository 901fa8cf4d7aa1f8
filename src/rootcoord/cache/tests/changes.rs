//! What is in memory is what the tables say after each change of any kind.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Change {
    Create(usize),
    Drop(usize),
    Rename(usize, usize),
    CreateAlias(usize, usize),
    AlterAlias(usize, usize),
    DropAlias(usize),
    CreatePartition(usize),
    DropPartition(usize),
    Set(usize, u64),
    Describe(usize, u64),
    AddField(usize, u64),
    Truncate(usize),
    /// Into the other database, or back.
    Move(usize, bool),
    CreateDatabase,
    DropDatabase,
    Install,
}

const OTHER: &str = "other";
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Desk {
    /// Also of one that is gone, or in the other database.
    async fn check_id(&self, id: i64) {
        let there = View::new(self.tables.view().unwrap().as_ref()).collection_by_id(id).unwrap();
        let request = DescribeCollectionRequest { collection_id: id, ..Default::default() };
        let found = self.catalog.describe_collection(&ask(request), Which::Internal).await.ok();
        let seen = found.map(|found| (found.collection_name, found.db_name == "default"));
        assert_eq!(seen, there.map(|row| (row.name, row.database_id == 1)), "{id}");
    }

    /// Refusals are fine: then nothing changed.
    async fn change(&self, change: &Change) {
        let name = |at: &usize| NAMES[*at].to_owned();
        let catalog = &self.catalog;
        match change {
            Change::Create(at) => drop(catalog.create_collection(&ask(new_collection(NAMES[*at]))).await),
            Change::Drop(at) => {
                let request = DropCollectionRequest { collection_name: name(at), ..Default::default() };
                drop(catalog.drop_collection(&ask(request)).await);
            }
            Change::Rename(from, to) => {
                let (old_name, new_name) = (name(from), name(to));
                let request = RenameCollectionRequest { old_name, new_name, ..Default::default() };
                drop(catalog.rename_collection(&ask(request)).await);
            }
            Change::CreateAlias(alias, of) => {
                let (alias, collection_name) = (name(alias), name(of));
                let request = CreateAliasRequest { alias, collection_name, ..Default::default() };
                drop(catalog.create_alias(&ask(request)).await);
            }
            Change::AlterAlias(alias, of) => {
                let (alias, collection_name) = (name(alias), name(of));
                let request = AlterAliasRequest { alias, collection_name, ..Default::default() };
                drop(catalog.alter_alias(&ask(request)).await);
            }
            Change::DropAlias(alias) => {
                let request = DropAliasRequest { alias: name(alias), ..Default::default() };
                drop(catalog.drop_alias(&ask(request)).await);
            }
            Change::CreatePartition(at) => {
                let (collection_name, partition_name) = (name(at), "p".to_owned());
                let request = CreatePartitionRequest { collection_name, partition_name, ..Default::default() };
                drop(catalog.create_partition(&ask(request)).await);
            }
            Change::DropPartition(at) => {
                let (collection_name, partition_name) = (name(at), "p".to_owned());
                let request = DropPartitionRequest { collection_name, partition_name, ..Default::default() };
                drop(catalog.drop_partition(&ask(request)).await);
            }
            Change::Set(at, value) => drop(catalog.alter_collection(&ask(set(NAMES[*at], *value))).await),
            Change::Describe(at, value) => {
                let text = KeyValuePair { key: "collection.description".into(), value: value.to_string() };
                let (collection_name, properties) = (name(at), vec![text]);
                let request = AlterCollectionRequest { collection_name, properties, ..Default::default() };
                drop(catalog.alter_collection(&ask(request)).await);
            }
            Change::AddField(at, number) => {
                let field = FieldSchema {
                    name: format!("f{number}"),
                    data_type: DataType::Int64.into(),
                    nullable: true,
                    ..FieldSchema::default()
                };
                let (collection_name, schema) = (name(at), field.encode_to_vec());
                let request = AddCollectionFieldRequest { collection_name, schema, ..Default::default() };
                drop(catalog.add_collection_field(&ask(request)).await);
            }
            Change::Truncate(at) => {
                let request = TruncateCollectionRequest { collection_name: name(at), ..Default::default() };
                drop(catalog.truncate_collection(&ask(request)).await);
            }
            Change::Move(at, back) => {
                let (mut from, mut to) = ("default", OTHER);
                if *back {
                    std::mem::swap(&mut from, &mut to);
                }
                let (db_name, new_db_name) = (from.to_owned(), to.to_owned());
                let (old_name, new_name) = (name(at), name(at));
                let request =
                    RenameCollectionRequest { db_name, old_name, new_db_name, new_name, ..Default::default() };
                drop(catalog.rename_collection(&ask(request)).await);
            }
            Change::CreateDatabase => {
                let request = CreateDatabaseRequest { db_name: OTHER.into(), ..Default::default() };
                drop(catalog.create_database(&ask(request)).await);
            }
            Change::DropDatabase => {
                let request = DropDatabaseRequest { db_name: OTHER.into(), ..Default::default() };
                drop(catalog.drop_database(&ask(request)).await);
            }
            // As an installed snapshot says that every row may be another one.
            Change::Install => self.tables.installed(),
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = || 0..NAMES.len();
    let one = prop_oneof![
        4 => at().prop_map(Change::Create),
        2 => at().prop_map(Change::Drop),
        2 => (at(), at()).prop_map(|(from, to)| Change::Rename(from, to)),
        3 => (at(), at()).prop_map(|(alias, of)| Change::CreateAlias(alias, of)),
        3 => (at(), at()).prop_map(|(alias, of)| Change::AlterAlias(alias, of)),
        2 => at().prop_map(Change::DropAlias),
        2 => at().prop_map(Change::CreatePartition),
        1 => at().prop_map(Change::DropPartition),
        3 => (at(), 0..3_u64).prop_map(|(at, value)| Change::Set(at, value)),
        2 => (at(), 0..3_u64).prop_map(|(at, value)| Change::Describe(at, value)),
        2 => (at(), 0..3_u64).prop_map(|(at, number)| Change::AddField(at, number)),
        1 => at().prop_map(Change::Truncate),
        3 => (at(), any::<bool>()).prop_map(|(at, back)| Change::Move(at, back)),
        2 => Just(Change::CreateDatabase),
        1 => Just(Change::DropDatabase),
        1 => Just(Change::Install),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_says_what_the_tables_say(changes in changes()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let desk = desk(config::Cache::default()).await;
            desk.create("a").await;
            // A run may do no more than drop it.
            desk.check("a").await;
            let mut ids = BTreeSet::new();
            for change in &changes {
                ids.extend(NAMES.iter().filter_map(|name| desk.truth(name)).map(|truth| truth.internal.collection_id));
                desk.change(change).await;
                for name in NAMES {
                    desk.check(name).await;
                }
                for id in &ids {
                    desk.check_id(*id).await;
                }
                for database in ["default", OTHER] {
                    desk.check_listing(database).await;
                }
            }
            assert!(desk.cache.counts.hits.get() > 0 && desk.cache.counts.listing_hits.get() > 0);
        });
    }
}
