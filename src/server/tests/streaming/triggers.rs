//! What has the balancer look: each cause alone, where nothing else would.

use super::*;

/// A balancer that never looks because time has passed.
fn patient() -> crate::config::Streaming {
    crate::config::Streaming { balancer_check_interval_ms: 600_000, ..eager() }
}

impl Site {
    /// How often the leader's balancer planned because of it.
    async fn planned_for(&self, cause: &str) -> u64 {
        let line = format!("roost_streaming_balancer_triggers_total{{cause=\"{cause}\"}} ");
        let metrics = get(&self.nodes[0].http, "/metrics").await;
        metrics.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }

    async fn planned_more_for(&self, cause: &str, before: u64) {
        let waiting = async {
            while self.planned_for(cause).await <= before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(
            tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(),
            "nothing was planned for {cause}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_or_leave_and_channels_that_are_lost_have_it_look() {
    let site = Site::start(patient()).await;
    site.join(1001).await;
    site.settled(&[1001]).await;
    site.join(1002).await;
    let both = site.settled(&[1001, 1002]).await;
    site.dies(1002).await;
    let one = site.settled(&[1001]).await;
    assert!(both.iter().zip(&one).all(|(before, after)| before.name == after.name && before.term <= after.term));
    assert!(site.planned_for("nodes").await >= 3);
    // Whatever was moved has arrived before more is moved.
    site.planned_more_for("settled", 0).await;
    let lost = site.planned_for("channels").await;
    let listener = site.listen(1).await;
    listener.report(&one[4].name, one[4].term);
    let again = async || site.channels().await[4].term > one[4].term;
    while !again().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(site.planned_for("channels").await > lost);
    let metrics = get(&site.nodes[0].http, "/metrics").await;
    let took = metrics.lines().find_map(|line| line.strip_prefix("roost_streaming_rebalance_seconds_count "));
    assert!(took.unwrap().parse::<u64>().unwrap() >= 3, "each of them took its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_that_come_or_go_have_it_look() {
    let site = Site::start(patient()).await;
    site.join(1011).await;
    site.settled(&[1011]).await;
    let vchannels = async || site.channels().await.iter().map(|channel| channel.vchannels).sum::<u64>();
    assert_eq!((vchannels().await, site.planned_for("vchannels").await), (0, 0));
    let created = site.nodes[0].milvus().await.create_collection(new_collection("books")).await;
    assert_eq!(created.unwrap().into_inner().code, 0);
    site.planned_more_for("vchannels", 0).await;
    let before = site.planned_for("vchannels").await;
    assert_eq!(vchannels().await, 1);
    let drop = DropCollectionRequest { collection_name: "books".into(), ..Default::default() };
    let dropped = site.nodes[0].milvus().await.drop_collection(drop).await;
    assert_eq!(dropped.unwrap().into_inner().code, 0);
    site.planned_more_for("vchannels", before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_it_look_and_only_the_leader_can() {
    let site = Site::start(patient()).await;
    site.join(1021).await;
    site.settled(&[1021]).await;
    let before = site.planned_for("operator").await;
    // At a node that does not lead.
    let answer = site.operator().await.balance(BalanceRequest { no_wait: true }).await.unwrap().into_inner();
    assert_eq!(answer.plan, None);
    site.planned_more_for("operator", before).await;
    let looked = site.planned_for("operator").await;
    assert!(site.operator().await.balance(BalanceRequest::default()).await.unwrap().into_inner().plan.is_some());
    site.planned_more_for("operator", looked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_passes_has_it_look_and_moves_what_may_be_moved_by_then() {
    let settings = crate::config::Streaming { balancer_min_interval_ms: 2000, ..eager() };
    let site = Site::start(settings).await;
    site.join(1031).await;
    site.settled(&[1031]).await;
    site.join(1032).await;
    let plan = async || site.operator().await.plan(PlanRequest::default()).await.unwrap().into_inner();
    let mut seen = plan().await;
    while seen.nodes.len() < 2 {
        seen = plan().await;
    }
    let early = seen.notes.iter().any(|note| note.contains("channels stay: they were taken less than 2000 ms ago"));
    assert!(early || !seen.moves.is_empty(), "{seen:?}");
    site.settled(&[1031, 1032]).await;
    assert!(site.planned_for("timer").await > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imbalance_below_the_threshold_is_left_alone() {
    let settings = crate::config::Streaming { balancer_rebalance_threshold: 1000.0, ..eager() };
    let site = Site::start(settings).await;
    site.join(1041).await;
    site.settled(&[1041]).await;
    site.join(1042).await;
    let looked = site.planned_for("timer").await;
    site.planned_more_for("timer", looked + 2).await;
    assert!(site.channels().await.iter().all(|channel| channel.server_id == 1041));
    let plan = site.operator().await.plan(PlanRequest { force: true }).await.unwrap().into_inner();
    let told = plan.notes.iter().any(|note| note.ends_with("not above the tolerance of 1000"));
    assert!(plan.moves.is_empty() && told, "{:?}", plan.notes);
}

/// The old owner lives and is asked to let go; once its time is up the new one takes the channel, and the old one is
/// told again when it answers.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_does_not_let_go_is_passed_over_in_time() {
    let site = Site::start(eager()).await;
    let (one, two) = (site.join(1051).await, site.join(1052).await);
    let settled = site.settled(&[1051, 1052]).await;
    let channel = settled.iter().find(|channel| channel.server_id == 1051).unwrap().clone();
    one.hangs.store(true, Ordering::Relaxed);
    let order = MoveChannelRequest { channel: channel.name.clone(), server_id: 1052 };
    site.operator().await.move_channel(order).await.unwrap();
    let now = async || site.channels().await.into_iter().find(|one| one.name == channel.name).unwrap();
    let moved = loop {
        let now = now().await;
        if (now.state.as_str(), now.server_id) == ("assigned", 1052) {
            break now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(one.has.lock().contains_key(&channel.name), "it never answered");
    assert_eq!(two.has.lock().get(&channel.name), Some(&moved.term));
    let lines = site.deeds.lines.lock().clone();
    let place = |line: String| lines.iter().position(|other| *other == line).unwrap_or_else(|| panic!("{line}"));
    let asked = place(format!("remove 1051 {}@{}", channel.name, channel.term));
    assert!(asked < place(format!("assign 1052 {}@{}", channel.name, moved.term)));
    one.hangs.store(false, Ordering::Relaxed);
    let waiting = async {
        while one.has.lock().contains_key(&channel.name) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it is told to let go");
}

/// A node that refuses what an operator pinned to it does not make the channel go there and back without a pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_to_a_node_that_refuses_is_void_for_a_while() {
    let site = Site::start(eager()).await;
    let (refusing, _two) = (site.join(1061).await, site.join(1062).await);
    let settled = site.settled(&[1061, 1062]).await;
    let channel = settled.iter().find(|channel| channel.server_id == 1062).unwrap().clone();
    refusing.rejects.store(true, Ordering::Relaxed);
    let order = MoveChannelRequest { channel: channel.name.clone(), server_id: 1061 };
    site.operator().await.move_channel(order).await.unwrap();
    let tries = || {
        let wanted = format!("assign 1061 {}@", channel.name);
        site.deeds.lines.lock().iter().filter(|line| line.starts_with(&wanted)).count()
    };
    let now = async || site.channels().await.into_iter().find(|one| one.name == channel.name).unwrap();
    let (mut served, looks) = (0, site.planned_for("timer").await);
    while site.planned_for("timer").await < looks + 8 {
        let now = now().await;
        served += u32::from((now.state.as_str(), now.server_id) == ("assigned", 1062));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!((1..=2).contains(&tries()) && served > 0, "{} tries, seen with its owner {served} times", tries());
    refusing.rejects.store(false, Ordering::Relaxed);
    while now().await.server_id != 1061 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
