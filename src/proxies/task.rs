//! The leader's work: follows sessions and changes in the log's events, and has each proxy's link told.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::board::ProxyBoard;
use super::changes::{changes_limits, is_nothing_to_proxies, stale_after};
use super::link::{Link, Shared};
use super::session::{Place, Session};
use super::stale::Stale;
use crate::config::Quota;
use crate::leader::{LeaderTask, Reign};
use crate::limits;
use crate::pb::proxy::SetRatesRequest;
use crate::quota::load::LoadBoard;
use crate::quota::tree::{self, Catalogue, Situation};
use crate::replica::AppliedEvents;
use crate::state::{Event, View};

/// See the module.
pub struct ProxyTask {
    shared: Arc<Shared>,
    place: Place,
    quota: Arc<Quota>,
    board: Arc<ProxyBoard>,
    /// What nodes said of their load.
    loads: Arc<LoadBoard>,
}

impl ProxyTask {
    /// `root` is Milvus' etcd.rootPath.
    pub fn new(
        shared: Shared,
        root: &str,
        quota: Arc<Quota>,
        board: Arc<ProxyBoard>,
        loads: Arc<LoadBoard>,
    ) -> Arc<Self> {
        Arc::new(ProxyTask { shared: Arc::new(shared), place: Place::under(root), quota, board, loads })
    }
}

#[tonic::async_trait]
impl LeaderTask for ProxyTask {
    fn name(&self) -> &'static str {
        "proxies"
    }

    async fn run(&self, _reign: Reign) {
        // Before the tables are read, so that nothing falls between.
        let mut events = self.shared.replica.events();
        let mut reigning = Reigning::new(self);
        let mut due = interval(Duration::from_millis(self.quota.collect_interval_ms));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(error) = reigning.find_sessions() {
                tracing::error!(%error, "the sessions of proxies cannot be read");
                tokio::time::sleep(limits::PROXY_RETRY_MAX).await;
                continue;
            }
            let has_proxies = !reigning.links.is_empty();
            tokio::select! {
                batch = events.recv() => match batch {
                    Ok(batch) => reigning.note(&batch),
                    Err(RecvError::Lagged(_)) => reigning.lost_track(),
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                _ = due.tick(), if has_proxies && self.quota.enabled => reigning.tell_rates().await,
            }
        }
    }
}

/// What one reign knows. Dropped with it, which cuts the links off.
struct Reigning<'t> {
    task: &'t ProxyTask,
    links: BTreeMap<i64, (Arc<Link>, AbortHandle)>,
    tasks: JoinSet<()>,
    /// Sessions may be others than the links.
    sessions_changed: bool,
    /// What is limited, unless it changed since.
    catalogue: Option<Arc<Catalogue>>,
}

impl<'t> Reigning<'t> {
    fn new(task: &'t ProxyTask) -> Self {
        let (links, tasks) = (BTreeMap::new(), JoinSet::new());
        Reigning { task, links, tasks, sessions_changed: true, catalogue: None }
    }

    /// Makes the links those of the proxies that are registered, if that may have changed.
    fn find_sessions(&mut self) -> io::Result<()> {
        if !self.sessions_changed {
            return Ok(());
        }
        let replica = &self.task.shared.replica;
        let view = replica.view()?;
        let found = self.task.place.sessions(view.as_ref(), &replica.members())?;
        let found: BTreeMap<i64, Session> = found.into_iter().map(|session| (session.id, session)).collect();
        self.links.retain(|id, (link, task)| {
            let stays = found.get(id) == Some(&link.session);
            if !stays {
                tracing::info!(proxy = id, address = link.session.address, "a proxy is gone");
                task.abort();
            }
            stays
        });
        let new = found.into_values().filter(|session| !self.links.contains_key(&session.id));
        let new: Vec<_> = new.map(Link::new).collect();
        let mut all: Vec<_> = self.links.values().map(|(link, _)| link).chain(&new).cloned().collect();
        all.sort_by_key(|link| link.session.id);
        // Before the new ones begin to forget everything: what is to be forgotten from then on must reach them.
        self.task.board.show(all);
        for link in new {
            let Session { id, address, version, .. } = &link.session;
            tracing::info!(proxy = id, address, version, "a proxy registered");
            let task = self.tasks.spawn(link.clone().serve(self.task.shared.clone()));
            self.links.insert(*id, (link.clone(), task));
        }
        // Those that were cut off.
        while self.tasks.try_join_next().is_some() {}
        self.sessions_changed = false;
        Ok(())
    }

    fn note(&mut self, batch: &AppliedEvents<Event>) {
        if batch.events.is_empty() {
            // Rows were replaced as a whole.
            return self.lost_track();
        }
        for event in &batch.events {
            if let Event::KeysChanged(changes) = event {
                let key = |event: &crate::pb::etcd::kv::Event| {
                    event.kv.as_ref().is_some_and(|row| self.task.place.concerns(&row.key))
                };
                self.sessions_changed |= changes.events.as_ref().is_none_or(|events| events.iter().any(key));
            }
        }
        if self.links.is_empty() {
            self.catalogue = None;
            return;
        }
        if batch.events.iter().any(changes_limits) {
            self.catalogue = None;
        }
        match self.stale_after(batch) {
            Ok(things) if things.is_empty() => {}
            Ok(things) => self.forget(&things),
            Err(error) => {
                tracing::error!(%error, "a change cannot be read");
                self.forget(&[Stale::Everything]);
            }
        }
    }

    fn stale_after(&self, batch: &AppliedEvents<Event>) -> io::Result<Vec<Stale>> {
        let mut things = Vec::new();
        if batch.events.iter().all(is_nothing_to_proxies) {
            return Ok(things);
        }
        let view = self.task.shared.replica.view()?;
        let view = View::new(view.as_ref());
        for event in &batch.events {
            things.extend(stale_after(&view, event)?);
        }
        Ok(things)
    }

    /// Some changes were missed.
    fn lost_track(&mut self) {
        self.sessions_changed = true;
        self.catalogue = None;
        self.forget(&[Stale::Everything]);
    }

    fn forget(&self, things: &[Stale]) {
        self.links.values().for_each(|(link, _)| link.forget(things));
    }

    async fn tell_rates(&mut self) {
        if self.task.quota.lowers_rates() && self.task.loads.latest().is_none() {
            // A new leader has not asked the nodes yet: what was denied is not to be allowed for a moment.
            return;
        }
        match self.rates().await {
            Ok(rates) => self.links.values().for_each(|(link, _)| link.set_rates(rates.clone())),
            Err(error) => tracing::error!(%error, "the limits cannot be read"),
        }
    }

    /// What each proxy may admit now.
    async fn rates(&mut self) -> io::Result<Arc<SetRatesRequest>> {
        let (replica, quota, known) =
            (self.task.shared.replica.clone(), self.task.quota.clone(), self.catalogue.clone());
        let (proxies, loads) = (self.links.len(), self.task.loads.latest());
        let building = tokio::task::spawn_blocking(move || {
            let catalogue = match known {
                Some(known) => known,
                None => Arc::new(tree::read(&View::new(replica.view()?.as_ref()), &quota)?),
            };
            let picture = loads.unwrap_or_default();
            let (disk_full, factors) = (replica.disk_full(), &picture.factors);
            let now = Situation { quota: &quota, disk_full, proxies, factors };
            let root_limiter = Some(tree::build(now, &catalogue));
            Ok::<_, io::Error>((catalogue, SetRatesRequest { root_limiter, ..SetRatesRequest::default() }))
        });
        let (catalogue, rates) = building.await.map_err(io::Error::other)??;
        self.catalogue = Some(catalogue);
        Ok(Arc::new(rates))
    }
}

impl Drop for Reigning<'_> {
    fn drop(&mut self) {
        self.task.board.show(Vec::new());
    }
}
