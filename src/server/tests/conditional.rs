//! Changes with a condition, as operators make them: through any node.

use super::*;
use crate::pb::catalog;
use crate::pb::catalog::catalog_client::CatalogClient;

fn create(name: &str, if_revision: Option<u64>) -> catalog::CreateCollectionRequest {
    let CreateCollectionRequest { collection_name, schema, .. } = new_collection(name);
    catalog::CreateCollectionRequest { collection_name, schema, if_revision, ..Default::default() }
}

fn alter(value: &str, if_revision: Option<u64>) -> catalog::AlterCollectionRequest {
    let properties = vec![KeyValuePair { key: "k".into(), value: value.into() }];
    catalog::AlterCollectionRequest { collection_name: "c".into(), if_revision, properties, ..Default::default() }
}

fn drop_at(if_revision: u64) -> catalog::DropCollectionRequest {
    let (collection_name, if_revision) = ("c".into(), Some(if_revision));
    catalog::DropCollectionRequest { collection_name, if_revision, ..Default::default() }
}

type Operator = CatalogClient<Channel>;

/// One on each node.
async fn operators(nodes: &[Running]) -> [Operator; 3] {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(CatalogClient::new(dial(&node.internal).await));
    }
    clients.try_into().unwrap()
}

async fn inspected(operator: &mut Operator) -> catalog::InspectCollectionResponse {
    let request = catalog::InspectCollectionRequest { collection_name: "c".into(), ..Default::default() };
    operator.inspect_collection(request).await.unwrap().into_inner()
}

fn told(reply: Result<tonic::Response<common::Status>, tonic::Status>) -> (i32, String) {
    let status = reply.unwrap().into_inner();
    (status.code, status.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_changes_only_what_is_as_it_was_seen() {
    let nodes = cluster().await;
    let [mut first, mut second, mut third] = operators(&nodes).await;
    assert_eq!(told(second.create_collection(create("c", Some(0))).await), (0, String::new()));
    let seen = inspected(&mut third).await;
    assert_eq!((seen.state.as_str(), seen.load_percent), ("CollectionCreated", None));
    let described = seen.description.unwrap();
    assert_eq!((described.collection_name.as_str(), described.schema.unwrap().fields.len()), ("c", 4));
    let taken = format!("collection c is at revision {}, not 0: invalid parameter", seen.revision);
    assert_eq!(told(first.create_collection(create("c", Some(0))).await), (1100, taken));
    assert_eq!(told(first.create_collection(create("c", None)).await).0, 0, "without a condition as Milvus' own call");

    // Two who saw the same: one of them is told.
    let (one, other) = tokio::join!(
        first.alter_collection(alter("1", Some(seen.revision))),
        second.alter_collection(alter("2", Some(seen.revision)))
    );
    let codes = [told(one).0, told(other).0];
    assert!(codes == [0, 1100] || codes == [1100, 0], "{codes:?}");
    let now = inspected(&mut third).await.revision;
    assert!(now > seen.revision);
    assert_eq!(told(third.drop_collection(drop_at(seen.revision)).await).0, 1100);
    assert_eq!(told(third.drop_collection(drop_at(now)).await).0, 0);
    assert_eq!(inspected(&mut first).await.status.unwrap().code, 100);

    // The same name and schema again, which the others never saw.
    assert_eq!(told(first.create_collection(create("c", Some(0))).await).0, 0);
    for old in [seen.revision, now] {
        assert_eq!(told(second.drop_collection(drop_at(old)).await).0, 1100);
    }
    let id = inspected(&mut second).await.description.unwrap().collection_id;
    let by_id = catalog::InspectCollectionRequest { collection_id: id, ..Default::default() };
    let found = second.inspect_collection(by_id).await.unwrap().into_inner();
    assert_eq!(found.description.unwrap().collection_name, "c");
    let nothing = catalog::InspectCollectionRequest::default();
    assert_eq!(second.inspect_collection(nothing).await.unwrap().into_inner().status.unwrap().code, 1100);
}

/// The answer to the first attempt is lost; the second one finds the collection changed, by the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_sent_again_is_not_refused_for_what_it_did_itself() {
    let nodes = cluster().await;
    let [mut first, _, mut third] = operators(&nodes).await;
    told(first.create_collection(create("c", Some(0))).await);
    let seen = inspected(&mut first).await.revision;
    nodes[0].replica.lose_answers.store(true, Ordering::Relaxed);
    let call = tokio::spawn(async move { told(third.alter_collection(alter("1", Some(seen))).await) });
    let done = async {
        while inspected(&mut first).await.revision == seen {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
    assert!(!call.is_finished(), "nobody was answered yet");
    nodes[0].replica.lose_answers.store(false, Ordering::Relaxed);
    assert_eq!(call.await.unwrap(), (0, String::new()));
}
