//! The encoding of entries: what a stranger's bytes do, and that what was written is always readable.

use proptest::prelude::*;
use roost_raft::kv::{MemTables, Txn};
use roost_raft::machine::{ApplyContext, Machine};

use super::support::*;
use crate::state::limits::MAX_ENTRY_BYTES;
use crate::state::*;

const CONTEXT: ApplyContext = ApplyContext { index: 9, term: 1, leader: 1, apply_version: 1 };

/// The message with which apply refuses these bytes.
fn refused(bytes: &[u8]) -> String {
    let tables = MemTables::default();
    let mut txn = Txn::new(&tables);
    let error = Roost.apply(&CONTEXT, bytes, &mut txn, &mut Vec::new()).unwrap_err();
    assert!(txn.into_rows().is_empty());
    error.to_string()
}

#[test]
fn bytes_that_are_no_entry_stop_the_node_with_a_reason() {
    let good = entry(START_MS, Some(request(1)), alloc(1)).encode().unwrap();
    assert_eq!(refused(&[]), "log entry 9: empty: not even a version byte");
    assert!(refused(&[2, 0, 0]).contains("written in version 2, this binary reads version 1"));
    assert!(refused(&good[..good.len() - 1]).contains("does not decode"));
    assert!(refused(&[good.clone(), vec![0]].concat()).contains("1 bytes too many"));
    assert!(refused(&vec![1; MAX_ENTRY_BYTES + 1]).contains("more than the"));
    assert_eq!(Roost.describe(&[]), "unreadable entry of 0 bytes: empty: not even a version byte");
}

#[test]
fn what_may_take_long_is_told_without_decoding_it() {
    use keyspace::KeyspaceCommand::*;
    let is_long = |command| Roost.is_long(&entry(START_MS, Some(request(1)), command).encode().unwrap());
    let long =
        [DeleteRange(vec![]), Txn(vec![]), RevokeLease { id: 1 }, ExpireLeases { leases: vec![] }, ReclaimHistory];
    assert!(long.into_iter().all(|command| is_long(Command::Keyspace(command))));
    let short = [Put(vec![1; 300]), Compact { revision: 1 }, GrantLease { id: 1, ttl_s: 2 }];
    assert!(!short.into_iter().any(|command| is_long(Command::Keyspace(command))));
    let rename = RenameCollection {
        database: String::new(),
        name: "a".into(),
        new_database: String::new(),
        new_name: "b".into(),
        ts: 1,
        limits: Limits::default(),
    };
    let drop = DropCollection { database: String::new(), name: "a".into() };
    let (users, roles, grants, groups) = (vec![], vec![], vec![], vec![]);
    let restore = access::Restore { users, roles, grants, groups, max_users: 1, max_roles: 1 };
    let drop_role = |force| access::DropRole { name: "r".into(), force };
    for command in [
        Command::Conditional(Conditional { revision: 1, change: ConditionalChange::Drop(drop.clone()) }),
        Command::DropCollection(drop),
        Command::Collection(CollectionChange::Rename(rename)),
        Command::Access(AccessCommand::DropRole(drop_role(true))),
        Command::Access(AccessCommand::Restore(restore)),
        Command::Worker(WorkerCommand::Found { root: "r".into() }),
        Command::Worker(WorkerCommand::Freeze { ids: vec![1], frozen: true }),
        Command::Worker(WorkerCommand::Leave { id: 1 }),
    ] {
        assert!(is_long(command.clone()), "{command}");
    }
    let erase = CollectionChange::Erase(EraseCollection { collection_id: 1 });
    let drop_user = access::DropUser { name: "u".into() };
    let drain = Command::Worker(WorkerCommand::Drain { id: 1, draining: true });
    for command in [Command::Collection(erase), Command::Access(AccessCommand::DropUser(drop_user)), drain] {
        assert!(!is_long(command.clone()), "{command}");
    }
    assert!(!is_long(alloc(1)) && !Roost.is_long(&[]) && !Roost.is_long(&[1]));
}

/// A length in a few bytes must not make the decoder reserve memory for it.
#[test]
fn a_claimed_length_is_not_believed() {
    let mut bytes = vec![1, 0, 0, 253];
    bytes.extend_from_slice(&u64::MAX.to_le_bytes());
    assert!(refused(&bytes).contains("does not decode"));
}

/// Regression: bincode charges eight bytes for a length that takes one, so a bound equal to the length would have
/// committed an entry that no node can read.
#[test]
fn whatever_encodes_decodes() {
    let partitions = vec![String::new(); MAX_ENTRY_BYTES / 2];
    let command = CreateCollection { partitions, ..create_collection("", "books") };
    let entry = entry(0, None, Command::CreateCollection(command));
    assert_eq!(Entry::decode(&entry.encode().unwrap()).unwrap(), entry);

    let schema = vec![0; MAX_ENTRY_BYTES];
    let command = CreateCollection { schema, ..create_collection("", "books") };
    let entry = Entry { command: Command::CreateCollection(command), ..entry };
    assert!(matches!(entry.encode(), Err(codec::Error::TooLong { .. })));
}

#[test]
fn an_entry_is_one_readable_line() {
    let line = |command| Roost.describe(&entry(5, Some(request(3)), command).encode().unwrap());
    let tail = "at_ms=5 request=1.7.3 principal=root source=127.0.0.1:40000";
    let create = Command::CreateCollection(create_collection("", "books"));
    assert_eq!(line(create), format!("create collection default.books shards=1 partitions=1 {tail}"));
    assert_eq!(line(drop_collection("a", "b\nc")), format!("drop collection a.b\\nc {tail}"));
    assert_eq!(line(create_database("a")), format!("create database a {tail}"));
    assert_eq!(line(drop_database("a")), format!("drop database a {tail}"));
    assert_eq!(line(create_partition("b", "p")), format!("create partition default.b.p {tail}"));
    assert_eq!(line(drop_partition("b", "p")), format!("drop partition default.b.p {tail}"));
    assert_eq!(line(alter("b", &[("k", "secret")], &[])), format!("alter collection default.b set=k {tail}"));
    assert_eq!(line(alloc(7)), format!("alloc ids count=7 {tail}"));
    assert_eq!(line(extend(7)), format!("extend tso bound_ms=7 {tail}"));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::decode(&bytes);
        let _ = Reply::decode(&bytes);
        Roost.describe(&bytes);
    }

    #[test]
    fn flipped_bytes_never_panic(at in 0_usize..10_000, flip in 1_u8..=255) {
        let mut bytes = entry(START_MS, Some(request(1)), Command::CreateCollection(create_collection("", "books")))
            .encode()
            .unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let tables = MemTables::default();
        let _ = Roost.apply(&CONTEXT, &bytes, &mut Txn::new(&tables), &mut Vec::new());
    }
}
