//! Who is let in, and what to.

use http::{HeaderMap, HeaderValue};
use prost::Message;
use tonic::Code;

use super::*;
use crate::access::Rules;
use crate::access::guard::Asking;
use crate::state::access::{AccessCommand, GrantKey, ObjectType, SetCondition};
use crate::state::{CreateCollection, CreateDatabase, Limits as StateLimits, Reply as StateReply};

const SERVICE: &str = "/milvus.proto.milvus.MilvusService";

fn headers(user: &str, password: &str) -> HeaderMap {
    let token = HeaderValue::try_from(encoded(&format!("{user}:{password}"))).unwrap();
    HeaderMap::from_iter([(http::header::AUTHORIZATION, token)])
}

impl Desk {
    /// The gRPC code and text of the refusal.
    async fn ask(&self, user: &str, method: &str, message: impl Message) -> Result<(), (Code, String)> {
        self.ask_in(user, "", method, message).await
    }

    async fn ask_in(
        &self,
        user: &str,
        connection_database: &str,
        method: &str,
        message: impl Message,
    ) -> Result<(), (Code, String)> {
        let said = |status: tonic::Status| (status.code(), status.message().to_owned());
        let password = if user == "root" { "Milvus" } else { "password" };
        let mut headers = headers(user, password);
        headers.insert("dbname", HeaderValue::from_str(connection_database).unwrap());
        let (call, bytes) = (call(user), message.encode_to_vec());
        let caller = self.guard.authenticate(&headers, &call).await.map_err(said)?;
        let rules = Rules::known().unwrap();
        let rule = rules.get(&format!("{SERVICE}/{method}")).unwrap();
        let asking = Asking::new(rule, &bytes, &headers).unwrap();
        self.guard.authorize(&caller, &call, asking).await.map_err(said)
    }

    async fn run(&self, command: Command) -> StateReply {
        let done = |reply: StateReply| Ok::<_, StateReply>(reply);
        self.accounts.ledger.propose(&asked(()).call, command, done).await.unwrap()
    }

    async fn may(&self, user: &str, method: &str, message: impl Message) -> bool {
        match self.ask(user, method, message).await {
            Ok(()) => true,
            Err((Code::PermissionDenied, _)) => false,
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn describe(name: &str) -> DescribeCollectionRequest {
    DescribeCollectionRequest { collection_name: name.into(), ..Default::default() }
}

fn create_collection(database: &str) -> CreateCollectionRequest {
    CreateCollectionRequest { db_name: database.into(), collection_name: "c".into(), ..Default::default() }
}

fn insert(name: &str) -> InsertRequest {
    InsertRequest { collection_name: name.into(), ..Default::default() }
}

#[tokio::test]
async fn whoever_does_not_show_a_users_password_is_not_let_in() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    let refusal = async |headers: HeaderMap| {
        let status = desk.guard.authenticate(&headers, &call("")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        status.message().to_owned()
    };
    assert_eq!(refusal(HeaderMap::new()).await, "missing authorization in header");
    let wrong = "auth check failure, please check username and password are correct";
    assert_eq!(refusal(headers("alice", "wrong")).await, wrong);
    assert_eq!(refusal(headers("nobody", "password")).await, wrong);
    assert_eq!(refusal(headers("", "")).await, wrong);
    for _ in 0..2 {
        let caller = desk.guard.authenticate(&headers("alice", "password"), &call("")).await.unwrap();
        assert_eq!(&*caller.name, "alice");
    }
}

#[tokio::test]
async fn a_changed_password_and_a_dropped_user_are_out_at_once() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    assert_eq!(desk.ask("alice", "ShowCollections", ShowCollectionsRequest::default()).await, Ok(()));
    let hash = bcrypt::hash("another", 4).unwrap();
    let info = crate::pb::internal::CredentialInfo {
        username: "alice".into(),
        encrypted_password: hash,
        ..Default::default()
    };
    desk.accounts.update_hashed(&asked(info)).await.unwrap();
    assert_eq!(
        desk.ask("alice", "GetVersion", GetVersionRequest::default()).await.unwrap_err().0,
        Code::Unauthenticated
    );
    assert!(desk.guard.authenticate(&headers("alice", "another"), &call("")).await.is_ok());
    let drop = DeleteCredentialRequest { username: "alice".into(), ..Default::default() };
    desk.accounts.delete_credential(&asked(drop)).await.unwrap();
    let again = desk.guard.authenticate(&headers("alice", "another"), &call("")).await;
    assert_eq!(again.unwrap_err().code(), Code::Unauthenticated);
    // The same name and password as before, and yet another user.
    desk.user("alice").await;
    assert_eq!(desk.ask("alice", "ShowCollections", ShowCollectionsRequest::default()).await, Ok(()));
}

#[tokio::test]
async fn an_id_is_asked_about_as_the_collection_that_it_means() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("reader", &["alice"]).await;
    let sales = CreateDatabase { name: "sales".into(), properties: vec![], ts: 1, limits: StateLimits::default() };
    desk.run(Command::CreateDatabase(sales)).await;
    let created = async |database: &str, name: &str| {
        let create = CreateCollection { database: database.into(), ..collection(name) };
        match desk.run(Command::CreateCollection(create)).await {
            StateReply::CollectionCreated { collection_id, .. } => collection_id,
            other => panic!("{other:?}"),
        }
    };
    let (books, orders) = (created("", "books").await, created("sales", "orders").await);
    let by_id = |collection_id| ShowPartitionsRequest { collection_id, ..Default::default() };
    // Everything in one database says nothing of what lies in another, whatever the connection's database is.
    desk.grant("reader", "CollectionReadOnly", "default.*").await;
    assert!(desk.may("alice", "ShowPartitions", by_id(books)).await);
    assert!(!desk.may("alice", "ShowPartitions", by_id(orders)).await);
    // One collection is enough, from any database.
    desk.grant("reader", "CollectionReadOnly", "sales.orders").await;
    assert!(desk.may("alice", "ShowPartitions", by_id(orders)).await);
    assert_eq!(desk.ask_in("alice", "sales", "ShowPartitions", by_id(books)).await, Ok(()));
    // The name goes before the id, as in the handlers.
    let both = ShowPartitionsRequest { collection_name: "maps".into(), ..by_id(orders) };
    assert_eq!(desk.ask_in("alice", "other", "ShowPartitions", both).await.unwrap_err().0, Code::PermissionDenied);
    assert!(desk.may("alice", "ShowPartitions", by_id(12_345)).await, "nothing is there to be hidden");
}

#[tokio::test]
async fn no_more_names_are_looked_at_than_can_be() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    desk.grant("writer", "CollectionReadWrite", "default.*").await;
    let flush = |count| FlushRequest { collection_names: vec!["books".into(); count], ..Default::default() };
    assert!(desk.may("alice", "Flush", flush(65_536)).await);
    let refused = desk.ask("alice", "Flush", flush(65_537)).await.unwrap_err();
    assert_eq!(refused.0, Code::InvalidArgument);
    assert!(refused.1.starts_with("65537 names in one request"), "{}", refused.1);
}

/// Regression: the refusal, which travels in a header, quoted the name of a database however long it was.
#[tokio::test]
async fn a_refusal_quotes_no_more_of_a_name_than_a_name_may_have() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    let denied = desk.ask("alice", "CreateCollection", create_collection(&"x".repeat(1 << 20))).await.unwrap_err();
    assert_eq!(denied.0, Code::PermissionDenied);
    assert!(denied.1.len() < 400, "{} bytes", denied.1.len());
}

#[tokio::test]
async fn a_dropped_user_lists_nothing_on_any_node() {
    let tables = Arc::default();
    let leader = SoloReplica::sharing(1, Arc::clone(&tables));
    leader.lead(1);
    let desk = desk_on(leader, secured()).await;
    desk.user("alice").await;
    assert_eq!(desk.ask("alice", "ListDatabases", ListDatabasesRequest::default()).await, Ok(()));
    let headers = headers("alice", "password");
    let caller = desk.guard.authenticate(&headers, &call("alice")).await.unwrap();
    let drop = DeleteCredentialRequest { username: "alice".into(), ..Default::default() };
    desk.accounts.delete_credential(&asked(drop)).await.unwrap();
    // As on a node that believed her before it heard of that.
    let rules = Rules::known().unwrap();
    let rule = rules.get(&format!("{SERVICE}/ListDatabases")).unwrap();
    let asking = Asking::new(rule, &[], &headers).unwrap();
    let refused = desk.guard.authorize(&caller, &call("alice"), asking).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_address_is_the_same_through_either_kind_of_socket() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    desk.grant("writer", "CollectionReadWrite", "default.books").await;
    let key = GrantKey {
        role: "writer".into(),
        object_type: ObjectType::Global,
        database: "default".into(),
        object: "books".into(),
        privilege: "PrivilegeGroupCollectionReadWrite".into(),
    };
    let condition = "address == '10.1.2.3' || address == '2001:db8::1'".to_owned();
    desk.run(Command::Access(AccessCommand::SetCondition(SetCondition { key, condition }))).await;
    let (headers, bytes) = (headers("alice", "password"), insert("books").encode_to_vec());
    let rules = Rules::known().unwrap();
    let rule = rules.get(&format!("{SERVICE}/Insert")).unwrap();
    for (source, allowed) in [
        ("10.1.2.3:5555", true),
        ("[::ffff:10.1.2.3]:5555", true),
        ("[2001:db8::1]:5555", true),
        ("10.1.2.4:5555", false),
        ("[::ffff:10.1.2.4]:5555", false),
    ] {
        let call = Call { source: source.into(), ..call("alice") };
        let caller = desk.guard.authenticate(&headers, &call).await.unwrap();
        let asking = Asking::new(rule, &bytes, &headers).unwrap();
        assert_eq!(desk.guard.authorize(&caller, &call, asking).await.is_ok(), allowed, "{source}");
    }
}

#[tokio::test]
async fn grants_open_doors_and_revoking_closes_them() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    let denied = desk.ask("alice", "Insert", insert("books")).await.unwrap_err();
    let text = "PrivilegeInsert: permission deny to alice in the `default` database";
    assert_eq!(denied, (Code::PermissionDenied, text.to_owned()));
    assert!(desk.may("root", "Insert", insert("books")).await);
    desk.grant("writer", "CollectionReadWrite", "default.books").await;
    assert!(desk.may("alice", "Insert", insert("books")).await);
    assert!(!desk.may("alice", "Insert", insert("maps")).await);
    let denied = desk.ask_in("alice", "sales", "Insert", insert("books")).await.unwrap_err();
    assert_eq!(denied.1, "PrivilegeInsert: permission deny to alice in the `sales` database");
    desk.operate(OperatePrivilegeType::Revoke, "writer", "CollectionReadWrite", "default.books").await.unwrap();
    assert!(!desk.may("alice", "Insert", insert("books")).await);
}

#[tokio::test]
async fn the_database_is_the_requests_own_or_the_connections() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("owner", &["alice"]).await;
    desk.grant("owner", "DatabaseAdmin", "sales.*").await;
    assert!(!desk.may("alice", "CreateCollection", create_collection("")).await);
    assert!(desk.may("alice", "CreateCollection", create_collection("sales")).await);
    assert_eq!(desk.ask_in("alice", "sales", "CreateCollection", create_collection("")).await, Ok(()));
    // What the handler looks at counts: the field, where there is one.
    let denied = desk.ask_in("alice", "sales", "CreateCollection", create_collection("hr")).await.unwrap_err();
    assert_eq!(denied.1, "PrivilegeCreateCollection: permission deny to alice in the `hr` database");
}

/// What a call of the cluster's level is about, and not where it is asked.
#[tokio::test]
async fn a_database_that_is_made_or_granted_is_asked_about_where_the_connection_is() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("maker", &["alice"]).await;
    for privilege in ["CreateDatabase", "DropDatabase", "ManageOwnership", "AlterDatabase"] {
        desk.grant("maker", privilege, "default.*").await;
    }
    let (create, drop) = (
        CreateDatabaseRequest { db_name: "sales".into(), ..Default::default() },
        DropDatabaseRequest { db_name: "sales".into(), ..Default::default() },
    );
    assert!(desk.may("alice", "CreateDatabase", create.clone()).await);
    assert!(desk.may("alice", "DropDatabase", drop).await);
    for db_name in ["sales", "*", ""] {
        let grant = OperatePrivilegeV2Request { db_name: db_name.into(), ..Default::default() };
        assert!(desk.may("alice", "OperatePrivilegeV2", grant).await, "{db_name}");
    }
    // A database is not dropped by whoever may drop another one.
    desk.grant("maker", "DropDatabase", "hr.*").await;
    let drop = DropDatabaseRequest { db_name: "sales".into(), ..Default::default() };
    let denied = desk.ask_in("alice", "hr", "DropDatabase", drop).await.unwrap_err();
    assert_eq!(denied.1, "PrivilegeDropDatabase: permission deny to alice in the `sales` database");
    let drop = DropDatabaseRequest { db_name: "hr".into(), ..Default::default() };
    assert_eq!(desk.ask_in("alice", "hr", "DropDatabase", drop).await, Ok(()));
    let denied = desk.ask_in("alice", "hr", "CreateDatabase", create).await.unwrap_err();
    assert_eq!(denied.1, "PrivilegeCreateDatabase: permission deny to alice in the `hr` database");
    // What is there already is asked about where it is.
    let alter = |db_name: &str| AlterDatabaseRequest { db_name: db_name.into(), ..Default::default() };
    assert!(desk.may("alice", "AlterDatabase", alter("default")).await);
    assert!(!desk.may("alice", "AlterDatabase", alter("sales")).await);
}

#[tokio::test]
async fn everybody_has_public_and_itself() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.user("bob").await;
    desk.role("reader", &["alice"]).await;
    assert!(desk.may("alice", "DescribeCollection", describe("books")).await);
    let select = |name: &str| SelectUserRequest { user: Some(UserEntity { name: name.into() }), ..Default::default() };
    assert!(desk.may("alice", "SelectUser", select("alice")).await);
    assert!(!desk.may("alice", "SelectUser", select("bob")).await);
    assert!(!desk.may("alice", "SelectUser", SelectUserRequest::default()).await);
    let update = |name: &str| UpdateCredentialRequest { username: name.into(), ..Default::default() };
    assert!(desk.may("alice", "UpdateCredential", update("alice")).await);
    assert!(!desk.may("alice", "UpdateCredential", update("root")).await);
    let grants = |role: &str| {
        let role = Some(RoleEntity { name: role.into(), description: String::new() });
        SelectGrantRequest { entity: Some(GrantEntity { role, ..Default::default() }), ..Default::default() }
    };
    for (role, may) in [("reader", true), ("public", true), ("admin", false)] {
        assert_eq!(desk.may("alice", "SelectGrant", grants(role)).await, may, "{role}");
    }
    assert!(!desk.may("bob", "SelectGrant", grants("reader")).await);
}

#[tokio::test]
async fn admins_may_do_everything_and_root_may_be_told_to_ask() {
    let desk = desk(Security { root_should_bind_role: true, ..secured() }).await;
    assert!(!desk.may("root", "CreateCollection", create_collection("")).await);
    let bind = OperateUserRoleRequest { username: "root".into(), role_name: "admin".into(), ..Default::default() };
    desk.accounts.operate_user_role(&asked(bind)).await.unwrap();
    assert!(desk.may("root", "CreateCollection", create_collection("")).await);
}

#[tokio::test]
async fn conditions_are_looked_at() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    desk.grant("writer", "Insert", "default.books").await;
    let key = GrantKey {
        role: "writer".into(),
        object_type: ObjectType::Collection,
        database: "default".into(),
        object: "books".into(),
        privilege: "PrivilegeInsert".into(),
    };
    for (condition, may) in [
        ("address == '10.0.0.1'", true),
        ("address == '10.0.0.2'", false),
        ("user == 'alice' && database == 'default' && collection == 'books'", true),
        ("time < '00:00'", false),
        ("nonsense that an older release let through", false),
        ("", true),
    ] {
        let command = AccessCommand::SetCondition(SetCondition { key: key.clone(), condition: condition.into() });
        let call = asked(()).call;
        desk.accounts.propose(&call, command).await.unwrap();
        assert_eq!(desk.may("alice", "Insert", insert("books")).await, may, "{condition}");
    }
}

#[tokio::test]
async fn a_changed_group_concerns_only_those_who_have_it() {
    let desk = desk(secured()).await;
    for (user, role) in [("alice", "writer"), ("bob", "reader")] {
        desk.user(user).await;
        desk.role(role, &[user]).await;
    }
    let group = || "g".to_owned();
    let create = CreatePrivilegeGroupRequest { group_name: group(), ..Default::default() };
    desk.accounts.create_privilege_group(&asked(create)).await.unwrap();
    let change = async |r#type: OperatePrivilegeGroupType, name: &str| {
        let privileges = vec![PrivilegeEntity { name: name.into() }];
        let (group_name, r#type) = (group(), r#type.into());
        let request = OperatePrivilegeGroupRequest { group_name, privileges, r#type, ..Default::default() };
        desk.accounts.operate_privilege_group(&asked(request)).await.unwrap();
    };
    change(OperatePrivilegeGroupType::AddPrivilegesToGroup, "Load").await;
    desk.grant("writer", "g", "default.*").await;
    desk.grant("reader", "CollectionReadOnly", "default.*").await;
    let before = desk.book.current().unwrap();
    assert!(!desk.may("alice", "Insert", insert("books")).await);
    change(OperatePrivilegeGroupType::AddPrivilegesToGroup, "Insert").await;
    assert!(desk.may("alice", "Insert", insert("books")).await);
    change(OperatePrivilegeGroupType::RemovePrivilegesFromGroup, "Insert").await;
    assert!(!desk.may("alice", "Insert", insert("books")).await);
    let after = desk.book.current().unwrap();
    let same = |user: &str| Arc::ptr_eq(before.user(user).unwrap(), after.user(user).unwrap());
    assert!(!same("alice") && same("bob"), "whoever has nothing to do with it is not read again");
}

/// More users than one entry touches: they are told of nothing by name.
#[tokio::test]
async fn a_role_that_goes_is_taken_from_all_of_its_users_at_once() {
    use crate::state::limits::BINDINGS_AT_ONCE;

    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    for number in 0..BINDINGS_AT_ONCE {
        let name = format!("user_{number}");
        let hash = bcrypt::hash("password", 4).unwrap();
        let info = crate::pb::internal::CredentialInfo {
            username: name.clone(),
            encrypted_password: hash,
            ..Default::default()
        };
        desk.accounts.create_hashed(&asked(info)).await.unwrap();
        let bind = OperateUserRoleRequest { username: name, role_name: "writer".into(), ..Default::default() };
        desk.accounts.operate_user_role(&asked(bind)).await.unwrap();
    }
    desk.grant("writer", "Insert", "default.books").await;
    assert!(desk.may("alice", "Insert", insert("books")).await);
    let drop = DropRoleRequest { role_name: "writer".into(), force_drop: true, ..Default::default() };
    desk.accounts.drop_role(&asked(drop)).await.unwrap();
    assert!(!desk.may("alice", "Insert", insert("books")).await);
    desk.role("writer", &["user_1"]).await;
    desk.grant("writer", "Insert", "default.books").await;
    assert!(!desk.may("alice", "Insert", insert("books")).await);
    assert!(desk.may("user_1", "Insert", insert("books")).await);
    // Also for whoever reads it all anew.
    let read = PolicyBook::new(desk.replica.clone()).current().unwrap();
    assert!(!read.user("alice").unwrap().has_role("writer") && read.user("user_1").unwrap().has_role("writer"));
}

#[tokio::test]
async fn another_nodes_changes_are_seen_after_its_answer() {
    let tables = Arc::default();
    let (one, two) = (SoloReplica::sharing(1, Arc::clone(&tables)), SoloReplica::sharing(2, tables));
    one.lead(1);
    two.lead(1);
    let (one, two) = (desk_on(one, secured()).await, desk_on(two, secured()).await);
    assert_eq!(
        two.ask("alice", "GetVersion", GetVersionRequest::default()).await.unwrap_err().0,
        Code::Unauthenticated
    );
    one.user("alice").await;
    one.role("writer", &["alice"]).await;
    for _ in 0..3 {
        assert!(!two.may("alice", "Insert", insert("books")).await);
        one.grant("writer", "Insert", "default.books").await;
        assert!(two.may("alice", "Insert", insert("books")).await);
        one.operate(OperatePrivilegeType::Revoke, "writer", "Insert", "default.books").await.unwrap();
    }
    // More events than the feed holds: the policy is read anew.
    for number in 0..100 {
        one.operate(OperatePrivilegeType::Grant, "writer", "Insert", &format!("default.c{number}")).await.unwrap();
    }
    assert!(two.may("alice", "Insert", insert("c99")).await);
}

#[tokio::test]
async fn without_a_quorum_nothing_that_needs_a_privilege_is_let_in() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    assert!(desk.may("alice", "DescribeCollection", describe("books")).await);
    desk.replica.follow(2, None);
    let refused = desk.ask("alice", "DescribeCollection", describe("books")).await.unwrap_err();
    assert_eq!(refused.0, Code::Unavailable);
    assert_eq!(desk.ask("alice", "GetVersion", GetVersionRequest::default()).await, Ok(()));
}

#[tokio::test]
async fn an_explanation_agrees_with_the_check_and_names_the_grants() {
    use crate::access::condition::Circumstances;
    use crate::access::explain::explain;
    use crate::access::policy::Wanted;
    use crate::access::privilege::Privilege;

    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    desk.grant("writer", "CollectionReadWrite", "default.books").await;
    let ask = |user: &str, privilege: &str, object: &str| {
        let policy = desk.book.current().unwrap();
        let privilege = Privilege::named(privilege).unwrap();
        let wanted = Wanted { object_type: privilege.object_type(), privilege, database: "default", object };
        let at = std::time::SystemTime::now();
        let around = Circumstances { user, database: "default", collection: object, address: "::1", at };
        explain(&policy, user, &wanted, &around, false)
    };
    let yes = ask("alice", "Insert", "books");
    assert_eq!((yes.allowed, yes.grants.len()), (true, 1));
    assert_eq!(yes.reason, "the role writer has CollectionReadWrite on default.books");
    let no = ask("alice", "Insert", "maps");
    assert!(!no.allowed && no.grants.is_empty());
    assert_eq!(no.reason, "no role of alice has Insert on Collection default.maps, nor a group with it");
    let public = ask("alice", "DescribeCollection", "maps");
    assert_eq!(public.reason, "everybody's role public has DescribeCollection on *.*");
    assert_eq!(ask("root", "DropDatabase", "*").reason, "root may do everything");
    assert_eq!(ask("nobody", "Insert", "books").reason, "there is no user nobody");
    let own = ask("alice", "UpdateUser", "alice");
    assert_eq!((own.allowed, own.reason.as_str()), (true, "users may always look at and change themselves"));
    assert!(!ask("alice", "UpdateUser", "bob").allowed);
}

fn collection(name: &str) -> crate::state::CreateCollection {
    use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};

    let (field_id, data_type) = (100, DataType::Int64.into());
    let id = FieldSchema { field_id, name: "id".into(), is_primary_key: true, data_type, ..Default::default() };
    let schema = CollectionSchema { name: name.into(), fields: vec![id], ..Default::default() };
    crate::state::CreateCollection {
        database: String::new(),
        name: name.into(),
        schema: schema.encode_to_vec(),
        shards: 1,
        consistency: 2,
        properties: Vec::new(),
        partitions: vec!["_default".into()],
        ts: 1,
        limits: crate::state::Limits::default(),
    }
}

#[tokio::test]
async fn an_alias_is_its_collection() {
    use crate::state::{AliasCommand, CollectionChange, RenameCollection};

    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    let run = async |command: Command| desk.run(command).await;
    for name in ["books", "maps"] {
        run(Command::CreateCollection(collection(name))).await;
    }
    let (database, alias) = (String::new(), "latest".to_owned());
    desk.grant("writer", "Insert", "default.books").await;
    assert!(!desk.may("alice", "Insert", insert("latest")).await);
    let collection = "books".to_owned();
    let create = AliasCommand::Create { database: database.clone(), alias: alias.clone(), collection };
    run(Command::Alias(create)).await;
    assert!(desk.may("alice", "Insert", insert("latest")).await);
    // Also where the request names nothing but the alias.
    let describe = || DescribeAliasRequest { alias: "latest".into(), ..Default::default() };
    let drop = || DropAliasRequest { alias: "latest".into(), ..Default::default() };
    assert!(!desk.may("alice", "DescribeAlias", describe()).await);
    desk.grant("writer", "CollectionAdmin", "default.maps").await;
    assert!(!desk.may("alice", "DropAlias", drop()).await);
    desk.grant("writer", "CollectionAdmin", "default.books").await;
    assert!(desk.may("alice", "DescribeAlias", describe()).await && desk.may("alice", "DropAlias", drop()).await);
    for place in ["default.maps", "default.books"] {
        desk.operate(OperatePrivilegeType::Revoke, "writer", "CollectionAdmin", place).await.unwrap();
    }
    // The grant moves with the collection, and so does what the alias stands for.
    let rename = RenameCollection {
        database: database.clone(),
        name: "books".into(),
        new_database: String::new(),
        new_name: "tomes".into(),
        ts: 1,
        limits: crate::state::Limits::default(),
    };
    run(Command::Collection(CollectionChange::Rename(rename))).await;
    assert!(desk.may("alice", "Insert", insert("tomes")).await);
    assert!(desk.may("alice", "Insert", insert("latest")).await);
    assert!(!desk.may("alice", "Insert", insert("books")).await);
    let alter = AliasCommand::Alter { database: database.clone(), alias: alias.clone(), collection: "maps".into() };
    run(Command::Alias(alter)).await;
    assert!(!desk.may("alice", "Insert", insert("latest")).await);
    run(Command::Alias(AliasCommand::Drop { database, alias })).await;
    assert!(!desk.may("alice", "Insert", insert("latest")).await);
}
