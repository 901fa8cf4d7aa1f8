//! Checked calls through every node of a cluster, over the wire.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::pb::access::access_client::AccessClient;
use crate::pb::access::{ExplainRequest, Grant, ListGrantsRequest, SetConditionRequest};

async fn secured() -> Vec<Running> {
    let security = Security { authorization_enabled: true, bcrypt_cost: 4, ..Security::default() };
    let nodes = cluster_secured(None, security).await;
    // Root comes with the leader's first work.
    let deadline = Instant::now() + Duration::from_secs(20);
    while nodes[0].milvus().await.get_version(by("root", "Milvus", GetVersionRequest {})).await.is_err() {
        assert!(Instant::now() < deadline, "root does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    nodes
}

fn by<T>(user: &str, password: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = BASE64_STANDARD.encode(format!("{user}:{password}"));
    request.metadata_mut().insert("authorization", MetadataValue::try_from(token).unwrap());
    request
}

fn root<T>(message: T) -> Request<T> {
    by("root", "Milvus", message)
}

fn role(name: &str) -> Option<RoleEntity> {
    Some(RoleEntity { name: name.into(), description: String::new() })
}

async fn make_alice(node: &Running) {
    let mut client = node.milvus().await;
    let password = BASE64_STANDARD.encode("password");
    let user = CreateCredentialRequest { username: "alice".into(), password, ..Default::default() };
    assert_eq!(client.create_credential(root(user)).await.unwrap().into_inner().code, 0);
    let entity = CreateRoleRequest { entity: role("writer"), ..Default::default() };
    assert_eq!(client.create_role(root(entity)).await.unwrap().into_inner().code, 0);
    let bind = OperateUserRoleRequest { username: "alice".into(), role_name: "writer".into(), ..Default::default() };
    assert_eq!(client.operate_user_role(root(bind)).await.unwrap().into_inner().code, 0);
}

fn grant(operation: OperatePrivilegeType) -> OperatePrivilegeV2Request {
    let privilege = Some(PrivilegeEntity { name: "DatabaseAdmin".into() });
    OperatePrivilegeV2Request {
        role: role("writer"),
        grantor: Some(GrantorEntity { user: None, privilege }),
        r#type: operation.into(),
        db_name: "default".into(),
        collection_name: "*".into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_checks_what_it_is_asked_and_believes_no_other_claim() {
    let nodes = secured().await;
    make_alice(&nodes[1]).await;
    for (place, node) in nodes.iter().enumerate() {
        let mut client = node.milvus().await;
        let refused = client.create_collection(new_collection("c")).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "missing authorization in header"));
        // Nor does a stamp of one's own making help.
        let mut claimed = Request::new(new_collection("c"));
        for (key, value) in [("roost-request", "9.9.9.9"), ("roost-principal", "cm9vdA=="), ("roost-source", "x")] {
            claimed.metadata_mut().insert(key, MetadataValue::from_static(value));
        }
        assert_eq!(client.create_collection(claimed).await.unwrap_err().code(), Code::Unauthenticated);
        let denied = client.create_collection(by("alice", "password", new_collection("c"))).await.unwrap_err();
        let text = "PrivilegeCreateCollection: permission deny to alice in the `default` database";
        assert_eq!((denied.code(), denied.message()), (Code::PermissionDenied, text));
        // Granted through another node, it holds here; and so does the end of it.
        let mut other = nodes[(place + 1) % nodes.len()].milvus().await;
        for (operation, allowed) in [(OperatePrivilegeType::Grant, true), (OperatePrivilegeType::Revoke, false)] {
            assert_eq!(other.operate_privilege_v2(root(grant(operation))).await.unwrap().into_inner().code, 0);
            let name = format!("c{place}");
            let asked = client.create_collection(by("alice", "password", new_collection(&name))).await;
            assert_eq!(
                asked.map(|reply| reply.into_inner().code).map_err(|status| status.code()),
                if allowed { Ok(0) } else { Err(Code::PermissionDenied) }
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_show_what_a_user_has_to_do_with() {
    let nodes = secured().await;
    make_alice(&nodes[0]).await;
    let mut client = nodes[1].milvus().await;
    for name in ["books", "maps"] {
        assert_eq!(client.create_collection(root(new_collection(name))).await.unwrap().into_inner().code, 0);
    }
    let privilege = Some(PrivilegeEntity { name: "CollectionReadOnly".into() });
    let request = OperatePrivilegeV2Request {
        grantor: Some(GrantorEntity { user: None, privilege }),
        collection_name: "maps".into(),
        ..grant(OperatePrivilegeType::Grant)
    };
    assert_eq!(client.operate_privilege_v2(root(request)).await.unwrap().into_inner().code, 0);
    let mut client = nodes[2].milvus().await;
    // From the tables, and from memory.
    for _ in 0..2 {
        let list = client.show_collections(by("alice", "password", ShowCollectionsRequest::default())).await.unwrap();
        assert_eq!(list.into_inner().collection_names, ["maps"]);
        let all = client.show_collections(root(ShowCollectionsRequest::default())).await.unwrap();
        assert_eq!(all.into_inner().collection_names.len(), 2);
    }
    let mut described = async |name: &str| {
        let reply = client.describe_collection(by("alice", "password", describe(name))).await.unwrap();
        reply.into_inner().status.unwrap()
    };
    assert_eq!(described("maps").await.code, 0);
    let refused = described("books").await;
    let text = "not allowed to access collection, collection name: books: privilege not permitted";
    assert_eq!((refused.code, refused.reason.as_str()), (1401, text));
    let names = ["maps", "books", "gone"].map(str::to_owned).to_vec();
    let batch = BatchDescribeCollectionRequest { collection_name: names, ..Default::default() };
    let all = client.batch_describe_collection(by("alice", "password", batch.clone())).await.unwrap().into_inner();
    let codes = |all: BatchDescribeCollectionResponse| -> Vec<i32> {
        all.responses.into_iter().map(|one| one.status.unwrap().code).collect()
    };
    assert!(all.responses[1].schema.is_none());
    assert_eq!(codes(all), [0, 1401, 100]);
    assert_eq!(codes(client.batch_describe_collection(root(batch)).await.unwrap().into_inner()), [0, 0, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_seen_by_whom_they_concern() {
    let nodes = secured().await;
    make_alice(&nodes[0]).await;
    let mut client = nodes[1].milvus().await;
    for name in ["sales", "stock"] {
        let request = CreateDatabaseRequest { db_name: name.into(), ..Default::default() };
        assert_eq!(client.create_database(root(request)).await.unwrap().into_inner().code, 0);
    }
    let mut give = async |privilege: &str, database: &str| {
        let privilege = Some(PrivilegeEntity { name: privilege.into() });
        let grantor = Some(GrantorEntity { user: None, privilege });
        let (db_name, collection_name) = (database.to_owned(), "*".to_owned());
        let request =
            OperatePrivilegeV2Request { grantor, db_name, collection_name, ..grant(OperatePrivilegeType::Grant) };
        assert_eq!(client.operate_privilege_v2(root(request)).await.unwrap().into_inner().code, 0);
    };
    give("DatabaseReadOnly", "sales").await;
    let mut client = nodes[2].milvus().await;
    let all = client.list_databases(by("alice", "password", ListDatabasesRequest::default())).await.unwrap();
    assert_eq!(all.into_inner().db_names, ["sales"]);
    let describe = |name: &str| DescribeDatabaseRequest { db_name: name.into(), ..Default::default() };
    let described = client.describe_database(by("alice", "password", describe("sales"))).await.unwrap().into_inner();
    assert_eq!(described.status.unwrap().code, 0);
    let all = client.list_databases(root(ListDatabasesRequest::default())).await.unwrap().into_inner();
    assert_eq!(all.db_names, ["default", "sales", "stock"]);
    // Who may list them in all databases sees them all.
    give("ListDatabases", "*").await;
    let all = client.list_databases(by("alice", "password", ListDatabasesRequest::default())).await.unwrap();
    assert_eq!(all.into_inner().db_names.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_set_conditions_and_are_told_why() {
    let nodes = secured().await;
    make_alice(&nodes[0]).await;
    let request = root(grant(OperatePrivilegeType::Grant));
    assert_eq!(nodes[0].milvus().await.operate_privilege_v2(request).await.unwrap().into_inner().code, 0);
    let mut operator = AccessClient::new(dial(&nodes[2].internal).await);
    let all = operator.list_grants(ListGrantsRequest { role: "writer".into() }).await.unwrap().into_inner().grants;
    assert_eq!((all.len(), all[0].privilege.as_str(), all[0].grantor.as_str()), (1, "DatabaseAdmin", "root"));
    let with =
        |condition: &str| SetConditionRequest { grant: Some(Grant { condition: condition.into(), ..all[0].clone() }) };
    let refused = operator.set_condition(with("usr == 'alice'")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("the condition is refused: there is no variable usr"), "{refused}");
    operator.set_condition(with("address == '10.9.9.9'")).await.unwrap();
    let ask = |address: &str| ExplainRequest {
        user: "alice".into(),
        privilege: "CreateCollection".into(),
        address: address.into(),
        ..Default::default()
    };
    for (address, allowed) in [("10.9.9.9", true), ("10.9.9.8", false)] {
        let answer = operator.explain(ask(address)).await.unwrap().into_inner();
        assert_eq!((answer.allowed, answer.grants.len(), answer.grants[0].holds), (allowed, 1, allowed));
    }
    let denied = nodes[1].milvus().await.create_collection(by("alice", "password", new_collection("c"))).await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    operator.set_condition(with("address == '127.0.0.1'")).await.unwrap();
    let created = nodes[1].milvus().await.create_collection(by("alice", "password", new_collection("c"))).await;
    assert_eq!(created.unwrap().into_inner().code, 0);
}
