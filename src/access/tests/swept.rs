//! A policy that follows events is the policy that the tables say, also while grants lie where they are not any more.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::state::CollectionChange;
use crate::state::access::{
    AccessCommand, BindRole, CreateRole, CreateUser, DropRole, Grant, GrantKey, ObjectType, Revoke,
};
use crate::state::limits::GRANTS_AT_ONCE;
use crate::state::tests::support::{create_collection, drop_collection, rename_collection};

/// More than a command touches.
const MANY: usize = GRANTS_AT_ONCE + 6;
const USER: &str = "u";

#[derive(Clone, Debug)]
enum Op {
    Fill(&'static str, &'static str, usize),
    Revoke(&'static str, &'static str),
    /// Dropped, made again, and given to the user again.
    Renew(&'static str),
    Create(&'static str),
    Drop(&'static str),
    Rename(&'static str, &'static str),
    Sweep,
}

fn role() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["r", "s"][..])
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["a", "b", "c"][..])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (role(), name(), prop_oneof![Just(MANY), Just(2)]).prop_map(|(role, name, count)| {
            Op::Fill(role, name, count)
        }),
        2 => (role(), name()).prop_map(|(role, name)| Op::Revoke(role, name)),
        1 => role().prop_map(Op::Renew),
        2 => name().prop_map(Op::Create),
        2 => name().prop_map(Op::Drop),
        4 => (name(), name()).prop_map(|(from, to)| Op::Rename(from, to)),
        3 => Just(Op::Sweep),
    ]
}

fn on(role: &str, object: &str, number: usize) -> GrantKey {
    GrantKey {
        role: role.into(),
        object_type: ObjectType::Collection,
        database: "default".into(),
        object: object.into(),
        privilege: format!("p{number}"),
    }
}

fn granted(role: &str, object: &str, number: usize) -> Command {
    let key = on(role, object, number);
    Command::Access(AccessCommand::Grant(Grant { key, grantor: ROOT.into(), of_group: false }))
}

fn renewed(role: &str) -> [Command; 3] {
    let drop = AccessCommand::DropRole(DropRole { name: role.into(), force: true });
    let create = CreateRole { name: role.into(), description: String::new(), max_roles: 10 };
    let bind = BindRole { user: USER.into(), role: role.into(), bind: true };
    [drop, AccessCommand::CreateRole(create), AccessCommand::BindRole(bind)].map(Command::Access)
}

fn commands(op: &Op) -> Vec<Command> {
    match *op {
        Op::Fill(role, name, count) => (0..count).map(|number| granted(role, name, number)).collect(),
        Op::Revoke(role, name) => vec![Command::Access(AccessCommand::Revoke(Revoke { key: on(role, name, 0) }))],
        Op::Renew(role) => renewed(role).into(),
        Op::Create(name) => vec![Command::CreateCollection(create_collection("", name))],
        Op::Drop(name) => vec![drop_collection("", name)],
        Op::Rename(from, to) => {
            vec![Command::Collection(CollectionChange::Rename(rename_collection(from, to)))]
        }
        Op::Sweep => vec![Command::Access(AccessCommand::Sweep)],
    }
}

/// What the user's roles may do, by role.
fn allowed(book: &PolicyBook) -> BTreeMap<String, Vec<GrantKey>> {
    let policy = book.current().unwrap();
    let user = policy.user(USER).unwrap().clone();
    let of = |role: &Arc<crate::access::policy::RolePolicy>| {
        (role.name.to_string(), role.grants().iter().map(|(key, _)| key.clone()).collect())
    };
    user.roles.iter().map(of).collect()
}

async fn follow(log: Vec<Op>) {
    let desk = desk(secured()).await;
    let user = CreateUser { name: USER.into(), password_hash: "h".into(), description: String::new(), max_users: 10 };
    let first = [Command::Access(AccessCommand::CreateUser(user))];
    let first = first.into_iter().chain(renewed("r")).chain(renewed("s"));
    for command in first.chain(commands(&Op::Create("a"))) {
        // There is no role to be dropped.
        let _ = desk.proposer.propose_internal(1, command).await;
    }
    assert_eq!(allowed(&desk.book).len(), 2);
    for op in log {
        for command in commands(&op) {
            // What there is not is refused, and that is as good.
            let _ = desk.proposer.propose_internal(1, command).await;
        }
        let read = PolicyBook::new(desk.replica.clone());
        assert_eq!(allowed(&desk.book), allowed(&read), "{op:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn events_lead_to_the_policy_of_the_tables(log in vec(op(), 1..16)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(follow(log));
    }
}
