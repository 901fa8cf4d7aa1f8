//! ShowCollections over the wire, from the tables and from memory.

use super::*;

type Show = ShowCollectionsRequest;

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_from_memory_is_the_one_from_the_tables() {
    let nodes = cluster().await;
    let mut milvus = nodes[1].milvus().await;
    let mut rootcoord = nodes[1].rootcoord().await;
    for (count, name) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(nodes[0].milvus().await.create_collection(new_collection(name)).await.unwrap().into_inner().code, 0);
        // The first is read, the others are in memory.
        let first = milvus.show_collections(Show::default()).await.unwrap().into_inner();
        assert_eq!((first.status.as_ref().unwrap().code, first.collection_names.len()), (0, count + 1));
        for _ in 0..2 {
            assert_eq!(milvus.show_collections(Show::default()).await.unwrap().into_inner(), first);
            assert_eq!(rootcoord.show_collections(Show::default()).await.unwrap().into_inner(), first);
        }
    }
    let metrics = get(&nodes[1].http, "/metrics").await;
    let count = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    assert!(count("roost_cache_listing_hits_total") >= 12, "{metrics}");
    // One after each change: what is read is what is sent.
    assert_eq!(count("roost_cache_listing_misses_total"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_is_asked_is_answered_as_before() {
    let nodes = cluster().await;
    let mut client = nodes[2].milvus().await;
    for name in ["a", "b"] {
        assert_eq!(client.create_collection(new_collection(name)).await.unwrap().into_inner().code, 0);
    }
    for _ in 0..2 {
        let all = client.show_collections(Show::default()).await.unwrap().into_inner();
        let before_b = Show { time_stamp: all.created_timestamps[0], ..Show::default() };
        assert_eq!(client.show_collections(before_b).await.unwrap().into_inner().collection_names, ["a"]);
        let loaded = Show { r#type: ShowType::InMemory.into(), ..Show::default() };
        assert!(client.show_collections(loaded).await.unwrap().into_inner().collection_names.is_empty());
        let named = Show { collection_names: vec!["a".into()], ..Show::default() };
        assert_eq!(client.show_collections(named).await.unwrap().into_inner(), all, "names are for loaded ones");
        let nowhere = Show { db_name: "nowhere".into(), ..Show::default() };
        assert_eq!(client.show_collections(nowhere).await.unwrap().into_inner().status.unwrap().code, 800);
        let mut elsewhere = Request::new(Show::default());
        elsewhere.metadata_mut().insert("dbname", MetadataValue::from_static("nowhere"));
        assert_eq!(client.show_collections(elsewhere).await.unwrap().into_inner().status.unwrap().code, 800);
    }
    for node in &nodes {
        node.replica.follow(2, None);
    }
    let mut late = Request::new(Show::default());
    late.set_timeout(Duration::from_millis(300));
    assert_eq!(
        client.show_collections(late).await.unwrap().into_inner().status.unwrap().code,
        2,
        "no barrier, no answer"
    );
}
