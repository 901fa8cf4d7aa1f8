//! A large catalogue: what many collections cost calls, an idle node and a node's start; and what a check of a call
//! costs beside many grants. Roost only.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use roost::access::policy::{Groups, RolePolicy, UserPolicy, Wanted};
use roost::access::privilege::Privilege;
use roost::pb::milvus::DescribeCollectionRequest;
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use roost::state::access::{GrantKey, ObjectType};

use super::root_coord::{self, CLIENTS};
use crate::cluster::{Cluster, Side};
use crate::connect::{connect, connect_all};
use crate::lab::{Lab, Size};
use crate::load::{Amount, Outcome};
use crate::milvus::accepted;
use crate::report::{Goal, Metric, Sample};

const CONNECTIONS: usize = 8;
const FEW: u64 = 100;
const MANY: u64 = 10_000;
/// Created with few and with many there.
const CREATED: u64 = 2000;
/// Room for them and for what is measured; far above Milvus' defaults.
const ROOM: u64 = 1 << 20;
const STARTS_WITH_FULL: u64 = 100_000;
const STARTS_WITH_QUICK: u64 = 20_000;
const READY_IN: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(10);

const ROLES: usize = 1000;
const GRANTS_OF_A_ROLE: usize = 100;
const CHECKS: usize = 2_000_000;

const fn metric(workload: &'static str, unit: &'static str, goal: Goal) -> Metric {
    Metric { workload, clients: CLIENTS as u64, unit, goal }
}

/// Without clients.
const fn alone(workload: &'static str, unit: &'static str, goal: Goal) -> Metric {
    Metric { clients: 0, ..metric(workload, unit, goal) }
}

const KEPT: [Metric; 3] = [
    metric("10,000 collections over 100: DescribeCollection", "x", Goal::OursAtLeast(0.8)),
    metric("10,000 collections over 100: HasCollection", "x", Goal::OursAtLeast(0.8)),
    metric("10,000 collections over 100: AllocTimestamp", "x", Goal::OursAtLeast(0.8)),
];
const KEPT_CREATE: Metric = metric("10,000 collections over 100: CreateCollection", "x", Goal::OursAtLeast(0.8));
const IDLE: Metric = alone("10,000 collections: an idle node", "% of a core", Goal::OursAtMost(5.0));
const START: Metric = alone("many collections: a node's start to its answer", "s", Goal::OursAtMost(5.0));
const CHECK: Metric = alone("permission check, 1,000 roles, 100,000 grants", "us", Goal::OursAtMost(2.0));
const CHECK_OF_ALL: Metric = alone("the same, of a user with all the roles", "us", Goal::OursAtMost(2.0));

/// Listed, and a part of them described, with descriptions in memory and without.
const CACHED: u64 = 2000;
const CACHE: [Metric; 2] = [
    metric("with the cache over without: DescribeCollection", "x", Goal::OursAtLeast(1.0)),
    metric("with the cache over without: ShowCollections", "x", Goal::OursAtLeast(1.0)),
];

/// Rates of a cluster with these settings, asked at its leader.
async fn rates_with(lab: &Lab, settings: &str) -> Result<[Outcome; 2]> {
    let cluster = Cluster::start_with(lab, Side::Roost, settings).await?;
    let leader = cluster.internal()[cluster.leader().await?].clone();
    let channels = connect_all(&[leader], CONNECTIONS).await?;
    root_coord::create(&channels, "exists", CACHED).await?;
    let amount = Amount::For { warm_up: lab.warm_up(), measured: lab.measured() };
    root_coord::describe_and_list(&channels, amount).await
}

async fn cache(lab: &Lab) -> Result<Vec<Sample>> {
    let without = rates_with(lab, "cache: { capacity_bytes: 0 }\n").await?;
    let with = rates_with(lab, "").await?;
    let rates = CACHE.into_iter().zip(with.iter().zip(&without));
    let sample = |(metric, (with, without)): (Metric, (&Outcome, &Outcome))| {
        let (with, without) = (with.per_second(), without.per_second());
        let note = format!("{with:.0} over {without:.0} /s, {CACHED} collections");
        Sample::new(metric, with / without).with_note(&note)
    };
    Ok(rates.map(sample).collect())
}

pub async fn run(lab: &Lab) -> Result<Vec<Sample>> {
    let mut samples = cache(lab).await?;
    let limits = format!("limits: {{ max_collections: {ROOM}, max_collections_per_database: {ROOM} }}\n");
    let mut cluster = Cluster::start_with(lab, Side::Roost, &limits).await?;
    let channels = connect_all(cluster.internal(), CONNECTIONS).await?;
    let amount = Amount::For { warm_up: lab.warm_up(), measured: lab.measured() };

    root_coord::create(&channels, "exists", FEW).await?;
    let few = root_coord::read_rates(&channels, amount).await?;
    let few_created = root_coord::create(&channels, "few", CREATED).await?;
    root_coord::create(&channels, "many", MANY - FEW - CREATED).await?;
    let many_created = root_coord::create(&channels, "late", CREATED).await?;
    let many = root_coord::read_rates(&channels, amount).await?;
    samples.push(Sample::new(KEPT_CREATE, many_created.per_second() / few_created.per_second()));
    for ((metric, few), many) in KEPT.into_iter().zip(&few).zip(&many) {
        samples.push(Sample::new(metric, many.per_second() / few.per_second()));
    }

    tokio::time::sleep(lab.warm_up()).await;
    let (before, since) = (cluster.cpu()?, Instant::now());
    tokio::time::sleep(lab.measured()).await;
    let busy = cluster.cpu()?.saturating_sub(before).as_secs_f64() / since.elapsed().as_secs_f64();
    samples.push(Sample::new(IDLE, busy / cluster.endpoints().len() as f64 * 100.0));

    let count = if lab.size == Size::Quick { STARTS_WITH_QUICK } else { STARTS_WITH_FULL };
    root_coord::create(&channels, "start", count - MANY - CREATED).await?;
    let node = (cluster.leader().await? + 1) % cluster.endpoints().len();
    cluster.server(node).kill()?;
    cluster.server(node).start_again()?;
    let started = Instant::now();
    answers(&cluster.endpoints()[node]).await?;
    samples.push(Sample::new(START, started.elapsed().as_secs_f64()).with_note(&format!("{count} collections")));

    let checks = tokio::task::spawn_blocking(checks).await??;
    samples.extend([Sample::new(CHECK, checks.of_one_role), Sample::new(CHECK_OF_ALL, checks.of_all_roles)]);
    Ok(samples)
}

/// Until a node describes a collection.
async fn answers(endpoint: &str) -> Result<()> {
    let deadline = Instant::now() + READY_IN;
    while let Err(error) = describe(endpoint).await {
        if Instant::now() > deadline {
            bail!("the node does not answer after {READY_IN:?}: {error:#}");
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}

async fn describe(endpoint: &str) -> Result<()> {
    let mut client = MilvusServiceClient::new(connect(endpoint).await?);
    let request = DescribeCollectionRequest { collection_name: "exists_000000".to_owned(), ..Default::default() };
    let reply = tokio::time::timeout(Duration::from_secs(5), client.describe_collection(request)).await??;
    Ok(accepted(&reply.into_inner().status.context("an answer without a status")?)?)
}

struct Checks {
    of_one_role: f64,
    of_all_roles: f64,
}

/// Microseconds of a check, half of which are allowed.
fn checks() -> Result<Checks> {
    let search = Privilege::named("Search").context("a privilege of Milvus")?;
    let insert = Privilege::named("Insert").context("a privilege of Milvus")?;
    let groups: Groups = BTreeMap::new();
    let role = |number: usize| {
        let grant = |object: usize| {
            let key = GrantKey {
                role: format!("role_{number}"),
                object_type: ObjectType::Collection,
                database: "default".to_owned(),
                object: format!("collection_{number}_{object}"),
                privilege: search.stored_name().to_owned(),
            };
            (key, None)
        };
        Arc::new(RolePolicy::compile(&format!("role_{number}"), (0..GRANTS_OF_A_ROLE).map(grant).collect(), &groups))
    };
    let roles: Vec<_> = (0..ROLES).map(role).collect();
    let time = |user: &UserPolicy, role: usize| {
        let objects: Vec<_> = (0..GRANTS_OF_A_ROLE).map(|object| format!("collection_{role}_{object}")).collect();
        let ask = |number: usize| {
            let privilege = if number.is_multiple_of(2) { search } else { insert };
            let object = objects[number % objects.len()].as_str();
            let wanted = Wanted { object_type: ObjectType::Collection, privilege, database: "default", object };
            user.allows(black_box(&wanted), &groups, &mut |_| false)
        };
        // What is compiled at the first check is not a check.
        ensure!(ask(0) && !ask(1), "the policy is not the one that is measured");
        let started = Instant::now();
        let allowed = (0..CHECKS).filter(|number| ask(*number)).count();
        ensure!(allowed == CHECKS / 2, "{allowed} of {CHECKS} checks allowed");
        Ok(started.elapsed().as_secs_f64() * 1e6 / CHECKS as f64)
    };
    let user = |roles| UserPolicy::new("".into(), 1, roles);
    let of_one_role = time(&user(vec![roles[ROLES / 2].clone()]), ROLES / 2)?;
    Ok(Checks { of_one_role, of_all_roles: time(&user(roles), ROLES / 2)? })
}
