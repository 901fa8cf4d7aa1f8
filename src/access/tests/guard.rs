//! Who is let in, and what to.

use http::{HeaderMap, HeaderValue};
use prost::Message;
use tonic::Code;

use super::*;
use crate::access::guard::Asking;
use crate::state::access::{AccessCommand, GrantKey, ObjectType, SetCondition};

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
        let rule = self.guard.rule(&format!("{SERVICE}/{method}")).unwrap();
        let asking = Asking::new(rule, &bytes, &headers).unwrap();
        self.guard.authorize(&caller, &call, asking).await.map_err(said)
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
    use crate::state::{AliasCommand, CollectionChange, Command, RenameCollection, Reply};

    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("writer", &["alice"]).await;
    let run = async |command: Command| {
        let done = |reply: Reply| Ok::<_, Reply>(reply);
        desk.accounts.ledger.propose(&asked(()).call, command, done).await.unwrap()
    };
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
