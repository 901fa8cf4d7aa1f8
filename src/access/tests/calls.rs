//! What the calls answer. Their rules in the state are tested there, and from end to end by pymilvus.

use super::*;
use crate::pb::internal::{CredentialInfo, ListPolicyRequest};
use crate::pb::rootcoord::GetCredentialRequest;
use crate::state::access::{GrantKey, ObjectType, SetCondition};

fn create(username: &str, password: &str) -> Asked<CreateCredentialRequest> {
    asked(CreateCredentialRequest { username: username.into(), password: password.into(), ..Default::default() })
}

fn update(by: &str, old: &str, new: &str) -> Asked<UpdateCredentialRequest> {
    let (old_password, new_password) = (encoded(old), encoded(new));
    asked_by(by, UpdateCredentialRequest { username: "alice".into(), old_password, new_password, ..Default::default() })
}

#[tokio::test]
async fn passwords_come_as_base64_and_only_hashes_are_kept() {
    let desk = desk(secured()).await;
    let refused = rejection(desk.accounts.create_credential(&create("alice", "!!!")).await);
    assert_eq!(refused.reason(), "decode password fail: invalid parameter");
    let refused = rejection(desk.accounts.create_credential(&create("alice", &encoded("short"))).await);
    assert!(refused.reason().starts_with("invalid password length: invalid parameter[5 out of range 6 <= value <= 72"));
    desk.accounts.create_credential(&create("alice", &encoded("password"))).await.unwrap();
    let credential = GetCredentialRequest { username: "alice".into(), ..Default::default() };
    let found = desk.accounts.get_credential(&asked(credential)).await.unwrap();
    assert!(found.password.starts_with("$2b$04$"));
    let missing = GetCredentialRequest { username: "nobody".into(), ..Default::default() };
    assert!(desk.accounts.get_credential(&asked(missing)).await.is_err());
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_it_and_by_super_users() {
    let security = Security { super_users: vec!["boss".into()], ..secured() };
    let desk = desk(security.clone()).await;
    desk.user("alice").await;
    let accounts = &desk.accounts;
    let refused = rejection(accounts.update_credential(&update("alice", "wrong-one", "another")).await);
    assert_eq!(
        (refused.code(), refused.reason().as_str()),
        (1400, "old password not correct for alice: not authenticated")
    );
    accounts.update_credential(&update("alice", "password", "another")).await.unwrap();
    assert_eq!(rejection(accounts.update_credential(&update("root", "password", "third-one")).await).code(), 1400);
    accounts.update_credential(&update("boss", "wrong-one", "third-one")).await.unwrap();
    accounts.update_credential(&update("alice", "third-one", "password")).await.unwrap();
    let refused = rejection(accounts.update_credential(&asked(UpdateCredentialRequest::default())).await);
    assert_eq!(refused.reason(), "must update either password or description: invalid parameter");
    // Names that nobody verified are no super users.
    let open = self::desk(Security { authorization_enabled: false, ..security }).await;
    open.user("alice").await;
    assert_eq!(
        rejection(open.accounts.update_credential(&update("boss", "wrong-one", "third-one")).await).code(),
        1400
    );
}

/// Regression: sent again after its leader was lost, the call was refused for what it had done itself.
#[tokio::test]
async fn a_change_of_password_that_is_sent_again_is_answered_as_it_was() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    let change = update("alice", "password", "another");
    desk.accounts.update_credential(&change).await.unwrap();
    desk.accounts.update_credential(&change).await.unwrap();
    let later = update("alice", "password", "another");
    assert_eq!(rejection(desk.accounts.update_credential(&later).await).code(), 1400);
}

#[tokio::test]
async fn proxies_bring_hashes() {
    let desk = desk(secured()).await;
    let info = |hash: &str| {
        let (username, encrypted_password) = ("alice".to_owned(), hash.to_owned());
        asked(CredentialInfo { username, encrypted_password, ..Default::default() })
    };
    let refused = rejection(desk.accounts.create_hashed(&info("password")).await);
    assert_eq!(refused.reason(), "the encrypted password is not a bcrypt hash: invalid parameter");
    // What would keep a thread for a day at each log-in.
    let endless = bcrypt::hash("password", 4).unwrap().replacen("$04$", "$31$", 1);
    let refused = rejection(desk.accounts.create_hashed(&info(&endless)).await);
    assert_eq!(refused.reason(), "a bcrypt hash of cost 31, those of 4 to 14 are taken: invalid parameter");
    let hash = bcrypt::hash("password", 4).unwrap();
    desk.accounts.create_hashed(&info(&hash)).await.unwrap();
    assert_eq!(rejection(desk.accounts.update_hashed(&info("")).await).code(), 1100);
    desk.accounts.update_hashed(&info(&bcrypt::hash("another", 4).unwrap())).await.unwrap();
    desk.accounts.update_credential(&update("alice", "another", "password")).await.unwrap();
}

#[tokio::test]
async fn the_policy_in_the_form_of_milvus_engine() {
    let desk = desk(secured()).await;
    desk.user("alice").await;
    desk.role("reader", &["alice"]).await;
    desk.grant("reader", "Search", "default.books").await;
    let policy = desk.accounts.list_policy(&asked(ListPolicyRequest::default())).await.unwrap();
    let line = r#"{"PType":"p","V0":"reader","V1":"Collection-default.books","V2":"PrivilegeSearch"}"#;
    assert!(policy.policy_infos.contains(&line.to_owned()), "{:?}", policy.policy_infos);
    assert_eq!((policy.policy_infos.len(), policy.user_roles), (4, vec!["alice/reader".to_owned()]));
    assert_eq!(policy.privilege_groups.len(), 9);
}

#[tokio::test]
async fn what_knows_no_conditions_is_told_of_no_grant_with_one() {
    let desk = desk(secured()).await;
    desk.role("reader", &[]).await;
    let policy = async || desk.accounts.list_policy(&asked(ListPolicyRequest::default())).await.unwrap().policy_infos;
    let backup = async || {
        let reply = desk.accounts.backup(&asked(BackupRbacMetaRequest::default())).await.unwrap();
        reply.rbac_meta.unwrap().grants.len()
    };
    let (lines, grants) = (policy().await.len(), backup().await);
    desk.grant("reader", "Search", "default.books").await;
    assert_eq!((policy().await.len(), backup().await), (lines + 1, grants + 1));
    let key = GrantKey {
        role: "reader".into(),
        object_type: ObjectType::Collection,
        database: "default".into(),
        object: "books".into(),
        privilege: "PrivilegeSearch".into(),
    };
    let command = AccessCommand::SetCondition(SetCondition { key, condition: "weekday < 6".into() });
    desk.accounts.propose(&asked(()).call, command).await.unwrap();
    assert_eq!((policy().await.len(), backup().await), (lines, grants));
}

#[tokio::test]
async fn a_name_in_a_grant_does_not_break_the_policys_lines() {
    let desk = desk(secured()).await;
    desk.role("r", &[]).await;
    let entity = GrantEntity {
        role: Some(RoleEntity { name: "r".into(), description: String::new() }),
        object: Some(ObjectEntity { name: "Collection".into() }),
        object_name: "*".into(),
        grantor: Some(GrantorEntity { user: None, privilege: Some(PrivilegeEntity { name: "Load".into() }) }),
        db_name: r#"x"y"#.into(),
    };
    let request = OperatePrivilegeRequest { entity: Some(entity), ..Default::default() };
    desk.accounts.operate_privilege(&asked(request)).await.unwrap();
    let policy = desk.accounts.list_policy(&asked(ListPolicyRequest::default())).await.unwrap();
    let lines = policy.policy_infos.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!(lines.into_iter().any(|line| line["V1"] == r#"Collection-x"y.*"#), "{:?}", policy.policy_infos);
}

#[tokio::test]
async fn names_are_trimmed_and_whoever_is_not_there_is_dropped_by_any_name() {
    let desk = desk(secured()).await;
    desk.user(" alice ").await;
    let again = rejection(desk.accounts.create_credential(&create("alice", &encoded("password"))).await);
    assert_eq!(again.reason(), "user already exists: alice: invalid parameter");
    let drop = |username: &str| asked(DeleteCredentialRequest { username: username.into(), ..Default::default() });
    for nobody in ["1a", "a b", "ö", &"n".repeat(300)] {
        desk.accounts.delete_credential(&drop(nobody)).await.unwrap();
    }
    assert_eq!(rejection(desk.accounts.delete_credential(&drop(" root ")).await).code(), 1401);
    let refused = rejection(desk.accounts.delete_credential(&drop(" ")).await);
    assert_eq!(refused.reason(), "username is empty: invalid parameter");
    desk.accounts.delete_credential(&drop(" alice")).await.unwrap();
    let left = desk.accounts.list_users(&asked(ListCredUsersRequest::default())).await.unwrap().usernames;
    assert_eq!(left, ["root"]);
    let group = |name: &str| asked(CreatePrivilegeGroupRequest { group_name: name.into(), ..Default::default() });
    desk.accounts.create_privilege_group(&group(" g ")).await.unwrap();
    let refused = rejection(desk.accounts.create_privilege_group(&group("g")).await);
    assert_eq!(refused.reason(), "privilege group name [g] is defined by users: invalid parameter");
    assert_eq!(rejection(desk.accounts.create_privilege_group(&group(" Load ")).await).code(), 1100);
    let privileges = vec![PrivilegeEntity { name: "Load".into() }];
    let members = OperatePrivilegeGroupRequest { group_name: " g".into(), privileges, ..Default::default() };
    desk.accounts.operate_privilege_group(&asked(members)).await.unwrap();
    let drop = DropPrivilegeGroupRequest { group_name: "g ".into(), ..Default::default() };
    desk.accounts.drop_privilege_group(&asked(drop)).await.unwrap();
    desk.accounts.create_privilege_group(&group("g")).await.unwrap();
}

/// The grants of `r` as clients see them: privilege, database and object.
async fn shown(desk: &Desk) -> Vec<String> {
    let role = Some(RoleEntity { name: "r".into(), description: String::new() });
    let entity = Some(GrantEntity { role, db_name: "*".into(), ..Default::default() });
    let found = desk.accounts.select_grant(&asked(SelectGrantRequest { entity, ..Default::default() })).await.unwrap();
    let line = |one: GrantEntity| {
        let privilege = one.grantor.unwrap().privilege.unwrap().name;
        format!("{} {} {}.{}", one.object.unwrap().name, privilege, one.db_name, one.object_name)
    };
    found.entities.into_iter().map(line).collect()
}

#[tokio::test]
async fn what_is_granted_globally_by_object_type_is_on_any_object() {
    let desk = desk(secured()).await;
    desk.role("r", &[]).await;
    let operate = async |privilege: &str, object: &str, operation: OperatePrivilegeType| {
        let entity = GrantEntity {
            role: Some(RoleEntity { name: "r".into(), description: String::new() }),
            object: Some(ObjectEntity { name: "Global".into() }),
            object_name: object.into(),
            grantor: Some(GrantorEntity { user: None, privilege: Some(PrivilegeEntity { name: privilege.into() }) }),
            db_name: String::new(),
        };
        let request = OperatePrivilegeRequest { entity: Some(entity), r#type: operation.into(), ..Default::default() };
        desk.accounts.operate_privilege(&asked(request)).await.unwrap();
    };
    operate("CreateCollection", "books", OperatePrivilegeType::Grant).await;
    operate("GroupCollectionReadOnly", "books", OperatePrivilegeType::Grant).await;
    assert_eq!(shown(&desk).await, ["Global CreateCollection default.*", "Global CollectionReadOnly default.books"]);
    operate("CreateCollection", "maps", OperatePrivilegeType::Revoke).await;
    assert_eq!(shown(&desk).await, ["Global CollectionReadOnly default.books"]);
}

/// Milvus looks at the place of groups alone.
#[tokio::test]
async fn only_groups_must_be_granted_on_what_they_are_about() {
    let desk = desk(secured()).await;
    desk.role("r", &[]).await;
    let group = |name: &str| asked(CreatePrivilegeGroupRequest { group_name: name.into(), ..Default::default() });
    for name in ["empty", "of_cluster"] {
        desk.accounts.create_privilege_group(&group(name)).await.unwrap();
    }
    let privileges = vec![PrivilegeEntity { name: "CreateDatabase".into() }];
    let members = OperatePrivilegeGroupRequest { group_name: "of_cluster".into(), privileges, ..Default::default() };
    desk.accounts.operate_privilege_group(&asked(members)).await.unwrap();
    for (privilege, place) in [
        ("CreateCollection", "sales.books"),
        ("CreateDatabase", "default.*"),
        ("Load", "*.books"),
        ("All", "default.*"),
        ("GroupReadOnly", "default.*"),
        ("*", "*.*"),
        ("empty", "default.books"),
    ] {
        desk.grant("r", privilege, place).await;
        // What is of no collection is on all of them, and says so.
        let place = if privilege == "CreateCollection" { "sales.*" } else { place };
        let shown_grants = shown(&desk).await;
        assert!(matches!(&shown_grants[..], [one] if one.ends_with(&format!(" {place}"))), "{shown_grants:?}");
        desk.operate(OperatePrivilegeType::Revoke, "r", privilege, place).await.unwrap();
        assert!(shown(&desk).await.is_empty(), "{privilege}");
    }
    for (privilege, place, text) in [
        ("ClusterAdmin", "default.*", "dbName and collectionName should be * for the cluster level privilege: Cluster"),
        ("of_cluster", "*.books", "dbName and collectionName should be * for the cluster level privilege: of_cluster"),
        ("DatabaseAdmin", "default.books", "collectionName should be * for the database level privilege: Database"),
        ("CollectionAdmin", "*.books", "please specify database name for the collection level privilege: Collection"),
        ("none", "default.books", "not found the privilege name[none]"),
        ("*", "default.books", "collectionName should be * for the database level privilege: *"),
        ("All", "default.books", "collectionName should be * for the database level privilege: All"),
        ("GroupReadOnly", "default.books", "collectionName should be * for the database level privilege: GroupRead"),
    ] {
        let refused = rejection(desk.operate(OperatePrivilegeType::Grant, "r", privilege, place).await);
        assert!(refused.code() == 1100 && refused.reason().starts_with(text), "{refused}");
    }
}

/// A proxy knows the groups of grants by object type, and no others.
#[tokio::test]
async fn a_proxy_is_told_what_groups_stand_for() {
    let desk = desk(secured()).await;
    desk.role("r", &[]).await;
    let group = CreatePrivilegeGroupRequest { group_name: "g".into(), ..Default::default() };
    desk.accounts.create_privilege_group(&asked(group)).await.unwrap();
    let privileges = ["Flush", "DescribeAlias"].map(|name| PrivilegeEntity { name: name.into() }).into();
    let members = OperatePrivilegeGroupRequest { group_name: "g".into(), privileges, ..Default::default() };
    desk.accounts.operate_privilege_group(&asked(members)).await.unwrap();
    let lines = async || {
        let policy = desk.accounts.list_policy(&asked(ListPolicyRequest::default())).await.unwrap().policy_infos;
        let read = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let of_role = policy.iter().map(read).filter(|line| line["V0"] == "r");
        let line =
            |line: serde_json::Value| format!("{} {}", line["V1"].as_str().unwrap(), line["V2"].as_str().unwrap());
        of_role.map(line).collect::<Vec<_>>()
    };
    desk.grant("r", "g", "default.books").await;
    let members = [
        "Collection-default.books PrivilegeFlush",
        "Collection-default.books PrivilegeGetFlushState",
        "Global-default.* PrivilegeDescribeAlias",
    ];
    assert_eq!(lines().await, members);
    desk.operate(OperatePrivilegeType::Revoke, "r", "g", "default.books").await.unwrap();
    desk.grant("r", "DatabaseReadOnly", "sales.*").await;
    assert_eq!(lines().await, ["Global-sales.* PrivilegeDescribeDatabase", "Global-sales.* PrivilegeShowCollections"]);
    desk.operate(OperatePrivilegeType::Revoke, "r", "DatabaseReadOnly", "sales.*").await.unwrap();
    desk.grant("r", "All", "default.*").await;
    assert_eq!(lines().await, ["Global-default.* PrivilegeAll"]);
}

#[tokio::test]
async fn a_group_is_not_called_what_a_grant_calls_something_else() {
    let desk = desk(secured()).await;
    for name in ["Load", "ClusterAdmin", "PrivilegeAll", "PrivilegeLoad", "PrivilegeGroupClusterAdmin"] {
        let request = CreatePrivilegeGroupRequest { group_name: name.into(), ..Default::default() };
        let refused = rejection(desk.accounts.create_privilege_group(&asked(request)).await);
        let text = format!("privilege group name [{name}] is defined by built in privileges or privilege groups in");
        assert!(refused.code() == 1100 && refused.reason().starts_with(&text), "{refused}");
        let group = PrivilegeGroupInfo { group_name: name.into(), privileges: Vec::new() };
        let meta = RbacMeta { privilege_groups: vec![group], ..Default::default() };
        let request = RestoreRbacMetaRequest { rbac_meta: Some(meta), ..Default::default() };
        assert_eq!(rejection(desk.accounts.restore(&asked(request)).await).code(), 1100);
    }
}

#[tokio::test]
async fn a_backup_restores_users_who_can_log_in() {
    let full = desk(secured()).await;
    full.user("alice").await;
    full.role("reader", &["alice"]).await;
    full.grant("reader", "CollectionReadOnly", "default.books").await;
    let group = CreatePrivilegeGroupRequest { group_name: "g".into(), ..Default::default() };
    full.accounts.create_privilege_group(&asked(group)).await.unwrap();
    let privileges = vec![PrivilegeEntity { name: "Load".into() }];
    let members = OperatePrivilegeGroupRequest { group_name: "g".into(), privileges, ..Default::default() };
    full.accounts.operate_privilege_group(&asked(members)).await.unwrap();
    full.grant("reader", "g", "default.*").await;
    let backup = full.accounts.backup(&asked(BackupRbacMetaRequest::default())).await.unwrap().rbac_meta.unwrap();
    assert_eq!((backup.users.len(), backup.roles.len(), backup.privilege_groups.len()), (1, 1, 1));

    let empty = desk(secured()).await;
    let restore = || asked(RestoreRbacMetaRequest { rbac_meta: Some(backup.clone()), ..Default::default() });
    empty.accounts.restore(&restore()).await.unwrap();
    let again = empty.accounts.backup(&asked(BackupRbacMetaRequest::default())).await.unwrap().rbac_meta.unwrap();
    assert_eq!(again, backup);
    empty.accounts.update_credential(&update("alice", "password", "another")).await.unwrap();
    assert!(rejection(empty.accounts.restore(&restore()).await).reason().starts_with("role [reader] already exists"));
    let privileges = vec![PrivilegeEntity { name: "Load".into() }; 2_000_000];
    let groups = vec![PrivilegeGroupInfo { group_name: "g".into(), privileges }];
    let large = RbacMeta { privilege_groups: groups, ..RbacMeta::default() };
    let request = RestoreRbacMetaRequest { rbac_meta: Some(large), ..Default::default() };
    let refused = rejection(empty.accounts.restore(&asked(request)).await);
    assert_eq!(refused.code(), 1102, "{refused}");
    for nothing in [None, Some(RbacMeta::default())] {
        let request = RestoreRbacMetaRequest { rbac_meta: nothing, ..Default::default() };
        empty.accounts.restore(&asked(request)).await.unwrap();
    }
}

#[tokio::test]
async fn requests_with_missing_parts_get_milvus_texts() {
    let desk = desk(secured()).await;
    desk.role("r", &[]).await;
    let name = |name: &str| name.to_owned();
    let role = || Some(RoleEntity { name: name("r"), description: String::new() });
    let privilege = || Some(GrantorEntity { user: None, privilege: Some(PrivilegeEntity { name: name("Load") }) });
    let object = || Some(ObjectEntity { name: name("Collection") });
    let full =
        GrantEntity { role: role(), object: object(), object_name: name("*"), grantor: privilege(), db_name: name("") };
    let missing = [
        (None, "the entity in the request is nil"),
        (Some(GrantEntity { grantor: None, ..full.clone() }), "the grantor entity in the grant entity is nil"),
        (
            Some(GrantEntity { grantor: Some(GrantorEntity::default()), ..full.clone() }),
            "the privilege entity in the grantor entity is nil",
        ),
        (Some(GrantEntity { object: None, ..full.clone() }), "the resource entity in the grant entity is nil"),
        (Some(GrantEntity { role: None, ..full.clone() }), "the object entity in the grant entity is nil"),
        (Some(GrantEntity { object_name: name(""), ..full.clone() }), "object name should be not empty"),
    ];
    for (entity, text) in missing {
        let request = OperatePrivilegeRequest { entity, ..Default::default() };
        let refused = rejection(desk.accounts.operate_privilege(&asked(request)).await);
        assert!(refused.code() == 1100 && refused.reason().starts_with(text), "{refused}");
    }
    let request = OperatePrivilegeRequest { entity: Some(full.clone()), r#type: 7, ..Default::default() };
    let refused = rejection(desk.accounts.operate_privilege(&asked(request)).await);
    assert!(refused.reason().starts_with("invalid operate privilege type"));
    let bare = OperatePrivilegeV2Request::default();
    let refused = rejection(desk.accounts.operate_privilege_v2(&asked(bare.clone())).await);
    assert!(refused.reason().starts_with("the role in the request is nil"));
    let wrong = OperatePrivilegeV2Request { role: role(), grantor: privilege(), r#type: 7, ..bare };
    let refused = rejection(desk.accounts.operate_privilege_v2(&asked(wrong)).await);
    assert!(refused.reason().starts_with("the type in the request not grant or revoke"));
    let request = SelectGrantRequest { entity: Some(GrantEntity { role: None, ..full }), ..Default::default() };
    let refused = desk.accounts.select_grant(&asked(request)).await.unwrap_err();
    assert!(refused.to_string().starts_with("the role entity in the grant entity is nil"));
    let refused = rejection(desk.accounts.create_role(&asked(CreateRoleRequest::default())).await);
    assert!(refused.reason().starts_with("the role entity is nil"));
}

#[tokio::test]
async fn a_proxy_names_the_grantor() {
    let desk = desk(secured()).await;
    desk.role("r", &[]).await;
    let request = |user: Option<&str>, version: &str, privilege: &str| {
        let user = user.map(|name| UserEntity { name: name.into() });
        let privilege = Some(PrivilegeEntity { name: privilege.into() });
        let entity = GrantEntity {
            role: Some(RoleEntity { name: "r".into(), description: String::new() }),
            object: Some(ObjectEntity { name: "Global".into() }),
            object_name: "*".into(),
            grantor: Some(GrantorEntity { user, privilege }),
            db_name: "*".into(),
        };
        asked(OperatePrivilegeRequest { entity: Some(entity), version: version.into(), ..Default::default() })
    };
    let refused = rejection(desk.accounts.operate_prepared(&request(None, "v2", "ClusterAdmin")).await);
    assert!(refused.reason().starts_with("the user entity in the grantor entity is nil or empty"));
    let refused = rejection(desk.accounts.operate_prepared(&request(Some("nobody"), "v2", "ClusterAdmin")).await);
    assert!(refused.reason().starts_with("the grantor user \"nobody\" does not exist"));
    desk.accounts.operate_prepared(&request(Some("root"), "v2", "ClusterAdmin")).await.unwrap();
    let refused = rejection(desk.accounts.operate_prepared(&request(Some("root"), "", "ClusterAdmin")).await);
    assert!(refused.reason().starts_with("can not operate the built-in privilege group [ClusterAdmin]"));
    let refused = rejection(desk.accounts.operate_prepared(&request(Some("root"), "", "Load")).await);
    assert!(refused.reason().starts_with("not found the privilege name[Load] in object[Global]"));
}

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Written(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_condition_that_is_set_is_in_the_audit_log() {
    use crate::pb::access::access_server::Access;
    let desk = desk(secured()).await;
    desk.role("r", &[]).await;
    desk.grant("r", "Insert", "default.books").await;
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _on = tracing::subscriber::set_default(log);
    let service = GrantService {
        accounts: desk.accounts.clone(),
        policy: desk.book.clone(),
        replica: desk.replica.clone(),
        security: Arc::new(secured()),
    };
    let set = async |sequence: u64, object: &str| {
        let grant = crate::pb::access::Grant {
            role: "r".into(),
            privilege: "Insert".into(),
            database: "default".into(),
            object: object.into(),
            condition: "user == 'a'".into(),
            ..Default::default()
        };
        let mut request = Request::new(crate::pb::access::SetConditionRequest { grant: Some(grant) });
        let id = crate::call::RequestId { node: 8, boot: 1, sequence, acked_below: 0 };
        request.extensions_mut().insert(Call { request: id, ..call("operator") });
        service.set_condition(request).await
    };
    assert!(set(1, "books").await.is_ok() && set(2, "none").await.is_err());
    let lines = String::from_utf8(written.0.lock().clone()).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["target"] == "audit")
        .collect();
    let told = |line: &serde_json::Value, field: &str| line["fields"][field].as_str().unwrap().to_owned();
    let of = |line| ["user", "method", "role", "object", "condition", "outcome"].map(|field| told(line, field));
    let expected =
        |object, outcome| ["operator", "SetCondition", "r", object, "user == 'a'", outcome].map(str::to_owned);
    assert_eq!(lines.iter().map(of).collect::<Vec<_>>(), [expected("books", "done"), expected("none", "refused")]);
    assert!(told(&lines[1], "reason").starts_with("there is no grant of"), "{}", lines[1]);
}
