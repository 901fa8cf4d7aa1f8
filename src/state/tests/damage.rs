//! Stored rows that are not what was written: found and said, never a panic. A row that lies is an error that stops the
//! node in good order, or it reads as something else; it must not take the process down in the middle of a write.

use proptest::prelude::*;
use prost::Message;
use roost_raft::kv::{Read, Space, Txn};
use roost_raft::machine::Machine;

use super::access::*;
use super::support::*;
use crate::pb::schema::{DataType, FieldSchema};
use crate::pb::store;
use crate::state::access::*;
use crate::state::*;

/// The id of the collection that [`world`] leaves half dropped.
const DROPPING: i64 = 122;

/// A little of everything that Milvus' side stores.
fn world() -> World {
    let mut world = World::default();
    world.run(create_database("shelf"));
    for (database, name) in [("", "books"), ("", "maps"), ("shelf", "books")] {
        world.run(Command::CreateCollection(create_collection(database, name)));
    }
    world.run(create_partition("books", "p"));
    let books = books(&world);
    world.run(Command::Index(IndexCommand::Create(index_of(books, 101, ""))));
    world.run(Command::Load(LoadCommand::Collection(load_of(books))));
    let partitions = vec![world.view().partition(books, "p").unwrap().unwrap().id];
    let release = ReleasePartitions { collection_id: books, partitions, ts: TS };
    world.run(Command::Load(LoadCommand::ReleasePartitions(release)));
    world.run(alter("books", &[("k", "v")], &[]));
    world.run(alloc(7));
    world.run(extend(START_MS + 3000));
    for sequence in 1..6 {
        world.run_at(START_MS + sequence, Some(request(sequence)), alloc(1));
    }
    world.run(create_alias("", "tomes", "books"));
    world.run(create_alias("", "atlas", "maps"));
    world.run(drop_alias("", "atlas"));
    world.run(drop_collection("", "maps"));
    leave_half_dropped(&mut world, DROPPING);
    world.run(access(root()));
    world.run(access(create_user("a")));
    world.run(access(create_role("r")));
    world.run(access(bind("a", "r", true)));
    world.run(access(create_group("g")));
    world.run(access(change_group("g", &[("Load", Some(PrivilegeLevel::Collection))], true)));
    world.run(access(AccessCommand::Grant(grant(key("r", "books", "g"), true))));
    world
}

/// A collection as a drop leaves it that needs further steps, without the hundreds of rows that such a one has.
fn leave_half_dropped(world: &mut World, id: i64) {
    let created = world.run(Command::CreateCollection(create_collection("", "dropping")));
    assert_eq!(created, Reply::CollectionCreated { collection_id: id, existed: false });
    let mut row = world.view().collection_by_id(id).unwrap().unwrap();
    let mut txn = Txn::new(&world.tables);
    row.state = store::CollectionState::Dropping.into();
    tables::COLLECTIONS.put(&mut txn, &id, &row);
    tables::COLLECTION_NAMES.delete(&mut txn, &(row.database_id, row.name));
    tables::DATABASE_COLLECTIONS.delete(&mut txn, &(row.database_id, id));
    tables::DROPPING.put(&mut txn, &(row.database_id, id), &store::Present {});
    let changed = txn.into_rows();
    world.tables.commit(changed);
}

/// The id of the default database's first collection.
fn books(world: &World) -> i64 {
    world.view().collection(DEFAULT_DATABASE_ID, "books").unwrap().unwrap().id
}

/// What is done to the damaged state: everything that reads or writes what [`world`] made.
fn commands(books: i64) -> Vec<Entry> {
    let create = |database, name| Command::CreateCollection(create_collection(database, name));
    let added = FieldSchema { nullable: true, ..field(0, "new", DataType::Int64) };
    let plain = [
        create("", "books"),
        create("shelf", "new"),
        create_database("other"),
        create_partition("books", "q"),
        drop_partition("books", "p"),
        alter("books", &[("k", "w")], &[]),
        alter("books", &[], &["k"]),
        alter_database("shelf", &[("k", "v")], &[]),
        create_alias("", "tomes", "books"),
        create_alias("shelf", "tomes", "books"),
        alter_alias("", "tomes", "books"),
        drop_alias("", "tomes"),
        drop_collection("", "tomes"),
        create_partition("tomes", "q"),
        Command::Index(IndexCommand::Create(index_of(books, 101, "other"))),
        Command::Index(IndexCommand::Create(index_of(books, 100, "key"))),
        Command::Index(IndexCommand::Drop(DropIndex { collection_id: books, name: String::new() })),
        Command::Load(LoadCommand::Collection(LoadCollection { replicas: vec!["h".into()], ..load_of(books) })),
        Command::Load(LoadCommand::ReleaseCollection(ReleaseCollection { collection_id: books })),
        alloc(3),
        extend(START_MS + 9000),
        Command::Collection(CollectionChange::Rename(rename_collection("books", "tomes"))),
        drop_collection("", "books"),
        erase_collection(DROPPING),
        change(CollectionChange::AddField(add_field("books", Vec::new()))),
        change(CollectionChange::AddField(add_field("books", added.encode_to_vec()))),
        change(CollectionChange::EnableDynamicField(enable_dynamic_field("books"))),
        change(CollectionChange::AlterField(alter_field("books", "id", &[("mmap.enabled", "true")], &[]))),
        change_function("books", FunctionChange::Add(Vec::new())),
        change_function("books", FunctionChange::Drop("f".into())),
        change(CollectionChange::Settings(alter_settings("books", "d"))),
        change(CollectionChange::Truncate(truncate_collection("books", TS + 9))),
        drop_collection("shelf", "books"),
        drop_database("shelf"),
        access(create_user("b")),
        access(bind("a", "r", false)),
        access(AccessCommand::Grant(grant(key("r", "maps", "*"), false))),
        access(change_group("g", &[("Load", Some(PrivilegeLevel::Collection))], false)),
        access(AccessCommand::DropGroup(DropGroup { name: "g".into() })),
        access(AccessCommand::DropRole(DropRole { name: "r".into(), force: true })),
        access(AccessCommand::DropUser(DropUser { name: "a".into() })),
    ];
    let stamped = [
        (Some(request(3)), alloc(1)),
        (Some(request(9)), alloc(1)),
        (Some(RequestId { boot: 8, ..request(1) }), alloc(1)),
    ];
    let plain = plain.into_iter().map(|command| entry(START_MS + 10, None, command));
    plain.chain(stamped.into_iter().map(|(request, command)| entry(START_MS + 10, request, command))).collect()
}

fn use_everything(world: &World, books: i64) {
    let view = world.view();
    for name in ["", "shelf", "default"] {
        let _ = view.databases(Some(name), 10);
        if let Ok(Some(database)) = view.database(name) {
            let _ = view.collections_in(database.id);
            let _ = view.collection_ids(database.id, None, 10);
            let _ = (view.aliases(database.id, None, 10), view.collection(database.id, "tomes"));
            if let Ok(Some(collection)) = view.collection(database.id, "books") {
                let _ = view.partitions(collection.id);
                let _ = view.partition(collection.id, "p");
                let _ = view.aliases_of(&collection);
            }
        }
    }
    let _ = (view.dropping(None, 10), view.dropping_in(1, None, 10), view.collection_in_any_state(DROPPING));
    let _ = (view.tso_bound_ms(), view.clock_ms(), view.next_id(), view.totals());
    let _ = (view.indexes(books), view.load(books));
    for entry in commands(books) {
        // Each on the damaged state itself: an error ends a node, so none follows another.
        let mut txn = Txn::new(&world.tables);
        let context =
            roost_raft::machine::ApplyContext { index: 1000, term: 1, leader: 1, apply_version: Roost::APPLY_VERSION };
        let _ = Roost.apply(&context, &entry.encode().unwrap(), &mut txn, &mut Vec::new());
    }
}

/// How a row is damaged.
#[derive(Clone, Debug)]
enum Damage {
    Flip {
        at: usize,
        with: u8,
    },
    Cut(usize),
    Replace(Vec<u8>),
    /// A field of a message set to an extreme number.
    Extreme {
        field: u8,
        value: u64,
    },
    Remove,
}

fn damage() -> impl Strategy<Value = Damage> {
    let extreme = prop_oneof![Just(u64::MAX), Just(i64::MAX.cast_unsigned()), Just(i64::MIN.cast_unsigned()), Just(0)];
    prop_oneof![
        (any::<usize>(), 1..=255u8).prop_map(|(at, with)| Damage::Flip { at, with }),
        any::<usize>().prop_map(Damage::Cut),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Damage::Replace),
        (1..10u8, extreme).prop_map(|(field, value)| Damage::Extreme { field, value }),
        Just(Damage::Remove),
    ]
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn damaged_rows_are_errors_and_not_panics(place in any::<prop::sample::Index>(), damage in damage()) {
        let mut world = world();
        let books = books(&world);
        let rows: Vec<_> = world.rows().into_keys().collect();
        let key = rows[place.index(rows.len())].clone();
        let mut row = world.tables.get(Space::STATE, &key).unwrap().unwrap();
        let mut removed = false;
        match damage {
            Damage::Flip { at, with } if !row.is_empty() => {
                let at = at % row.len();
                row[at] ^= with;
            }
            Damage::Flip { .. } => row.push(0xff),
            Damage::Cut(to) => row.truncate(to % (row.len() + 1)),
            Damage::Replace(bytes) => row = bytes,
            // A field that comes again replaces the one before.
            Damage::Extreme { field, value } => {
                row.push(field << 3);
                row.extend(varint(value));
            }
            Damage::Remove => removed = true,
        }
        let mut txn = Txn::new(&world.tables);
        if removed { txn.delete(Space::STATE, key) } else { txn.put(Space::STATE, key, row) }
        let changed = txn.into_rows();
        world.tables.commit(changed);
        use_everything(&world, books);
    }
}
