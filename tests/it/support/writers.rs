//! Clients that create collections without a pause, each through one node, and remember what was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{Client, Refusal};
use super::cluster::Cluster;

/// A refused writer does not hammer a node that is down.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Book {
    /// Name, who wrote, and when it was asked for and acknowledged.
    acknowledged: Vec<(String, u64, Instant, Instant)>,
    refused: Vec<(u64, Refusal)>,
}

pub struct Writers {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// `each` writers through each of the nodes.
    pub fn start(cluster: &Cluster, nodes: &[u64], each: usize) -> Self {
        let mut writers = Writers { book: Arc::default(), stop: Arc::default(), tasks: JoinSet::new() };
        for node in nodes {
            for writer in 0..each {
                let (client, name) = (cluster.client(*node), format!("w{node}_{writer}"));
                writers.tasks.spawn(write(client, *node, name, writers.book.clone(), writers.stop.clone()));
            }
        }
        writers
    }

    pub fn count(&self) -> usize {
        self.book.lock().unwrap().acknowledged.len()
    }

    /// The first acknowledgement of a write through one of `nodes` that was asked for after `since`.
    pub fn first_after(&self, since: Instant, nodes: &[u64]) -> Option<Instant> {
        let book = self.book.lock().unwrap();
        let after = book.acknowledged.iter().filter(|(_, node, asked, _)| nodes.contains(node) && *asked > since);
        after.map(|(_, _, _, came)| *came).min()
    }

    /// What was refused through one of `nodes`.
    pub fn refusals(&self, nodes: &[u64]) -> Vec<String> {
        let book = self.book.lock().unwrap();
        let of = book.refused.iter().filter(|(node, _)| nodes.contains(node));
        of.map(|(node, refusal)| format!("node {node}: {refusal:?}")).collect()
    }

    /// Lets the last calls end; returns every acknowledged name.
    pub async fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        let book = self.book.lock().unwrap();
        book.acknowledged.iter().map(|(name, ..)| name.clone()).collect()
    }
}

async fn write(client: Client, node: u64, prefix: String, book: Arc<Mutex<Book>>, stop: Arc<AtomicBool>) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (name, asked) = (format!("{prefix}_{number}"), Instant::now());
        match client.create(&name).await {
            Ok(()) => book.lock().unwrap().acknowledged.push((name, node, asked, Instant::now())),
            Err(refusal) => {
                book.lock().unwrap().refused.push((node, refusal));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
