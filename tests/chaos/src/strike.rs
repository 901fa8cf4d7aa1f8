//! What each fault does to the cluster. A strike ends with the fault still there, or over; [`Cluster::heal`] follows.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, SESSION, SMALL_DISK, STREAMING, WORKERS};
use crate::fault::{Fault, Toll, Trouble, Who};
use crate::load::{Load, write};
use crate::proxy::Rule;

/// Before a fault that needs a leader.
const LEADER_IN: Duration = Duration::from_secs(20);
/// Shorter than the lease that a follower grants: 500 ms.
const WITHIN_LEASE: Duration = Duration::from_millis(100);
/// How long a node may take to stop in good order.
const STOP_IN: Duration = Duration::from_secs(30);
const REPLACED_IN: Duration = Duration::from_secs(60);
const CUT: Rule =
    Rule { cut: true, refuse: false, delay: (Duration::ZERO, Duration::ZERO), lost_in_1000: 0, bytes_per_second: None };
/// Filling up leaves so much for what is not the node's.
const WATERMARK_BYTES: u64 = 16 << 20;
/// More log than is kept for a node that is away.
const BEYOND_LOG: (usize, usize) = (150, 8 << 10);

/// What a strike needs beside the cluster.
pub struct Strike<'a> {
    pub cluster: &'a mut Cluster,
    pub load: &'a Load,
    pub random: &'a mut StdRng,
    /// Nodes may end by themselves, as they should when a disk is full.
    pub may_fall: bool,
}

impl Strike<'_> {
    /// Makes `fault` happen and lets it last.
    pub async fn run(&mut self, fault: &Fault) -> Result<()> {
        let lasts = Fault::lasts(self.random);
        self.make(fault, lasts).await
    }

    /// Makes `fault` happen and does not wait.
    pub async fn begin(&mut self, fault: &Fault) -> Result<()> {
        self.make(fault, Duration::ZERO).await
    }

    async fn make(&mut self, fault: &Fault, lasts: Duration) -> Result<()> {
        match fault {
            Fault::Kill(who) => {
                for place in self.victims(*who).await? {
                    self.cluster.node(place)?.kill()?;
                }
                sleep(lasts).await;
            }
            Fault::PowerLoss { who, torn } => {
                let victims = self.victims(*who).await?;
                // All at once: nobody acknowledges anything more on the word of one that is gone.
                for place in &victims {
                    self.cluster.node(*place)?.kill()?;
                }
                for place in victims {
                    self.cluster.node(place)?.lose_power(*torn)?;
                }
                sleep(lasts / 3).await;
            }
            Fault::RestartWithinLease => self.restart_within_lease().await?,
            Fault::Pause(who, lasting) => {
                for place in self.victims(*who).await? {
                    self.cluster.node(place)?.pause()?;
                }
                sleep(*lasting).await;
            }
            Fault::Partition { who, refused } => {
                self.isolate(*who, Rule { refuse: *refused, ..CUT }, true, true).await?;
                sleep(lasts).await;
            }
            Fault::OneWay { who, mute } => {
                self.isolate(*who, CUT, *mute, !*mute).await?;
                sleep(lasts).await;
            }
            Fault::Bridge => {
                let places = self.cluster.places();
                let leader = self.cluster.leader(LEADER_IN).await?;
                let other = self.other_than(leader)?;
                // Or between the two that follow.
                let (one, other) = match places.iter().find(|place| **place != leader && **place != other) {
                    Some(third) if self.random.random() => (*third, other),
                    _ => (leader, other),
                };
                self.cluster.links.set_both(one, other, CUT);
                sleep(lasts).await;
            }
            Fault::Delay(by) => self.everywhere(Rule { delay: (*by / 10, *by), ..Rule::default() }, lasts).await,
            Fault::Loss(rate) => self.everywhere(Rule { lost_in_1000: *rate, ..Rule::default() }, lasts).await,
            Fault::SlowLinks(rate) => {
                self.everywhere(Rule { bytes_per_second: Some(*rate), ..Rule::default() }, lasts).await;
            }
            Fault::Resets => self.resets(lasts).await,
            Fault::FullDisk { entirely } => self.full_disk(*entirely, lasts).await?,
            Fault::SlowSync(who, by) => {
                for place in self.victims(*who).await? {
                    self.cluster.node(place)?.slow_sync(i64::try_from(by.as_micros())?)?;
                }
                sleep(lasts).await;
            }
            Fault::Clock(who, ms) => {
                for place in self.victims(*who).await? {
                    self.cluster.node(place)?.step_clock(*ms)?;
                }
                sleep(lasts).await;
            }
            Fault::Drift(who, ppm) => {
                for place in self.victims(*who).await? {
                    self.cluster.node(place)?.drift_clock(*ppm)?;
                }
                // Long enough to be off by more than an election takes.
                sleep(lasts * 2).await;
            }
            Fault::Transfer => {
                for _ in 0..3 {
                    let to = self.other_than(self.cluster.leader(LEADER_IN).await?)?;
                    self.cluster.transfer(to).await?;
                    sleep(lasts / 8).await;
                }
            }
            Fault::Replace { who, killed } => {
                let Some(place) = self.victims(*who).await?.first().copied() else { return Ok(()) };
                if *killed {
                    self.cluster.node(place)?.kill()?;
                }
                self.cluster.replace(place, REPLACED_IN).await?;
                self.load.use_places(self.cluster.places());
            }
            Fault::RollingRestart => self.rolling_restart().await?,
            Fault::SnapshotMidway => self.snapshot_midway().await?,
            Fault::Worker(trouble) => {
                self.trouble(*trouble).await?;
                self.last(*trouble, lasts).await;
            }
            Fault::Meanwhile(trouble, toll) => {
                self.trouble(*trouble).await?;
                // Before a session has run out, while channels are on their way, or after that.
                sleep(SESSION.mul_f64(self.random.random_range(0.0..2.0))).await;
                let victims = match toll {
                    Toll::Leader => self.victims(Who::Leader).await?,
                    Toll::All => self.cluster.places(),
                };
                for place in victims {
                    self.cluster.node(place)?.kill()?;
                }
                self.last(*trouble, lasts).await;
            }
        }
        Ok(())
    }

    /// Hits one streaming node, and any other node or none.
    async fn trouble(&mut self, trouble: Trouble) -> Result<()> {
        let first = self.random.random_range(1..=STREAMING);
        let second = self.random.random_range(1..=WORKERS);
        self.cluster.trouble(first, trouble).await?;
        if second != first {
            self.cluster.trouble(second, trouble).await?;
        }
        Ok(())
    }

    async fn last(&mut self, trouble: Trouble, lasts: Duration) {
        // A backdrop does not wait.
        let beyond = if trouble == Trouble::Pause && !lasts.is_zero() { SESSION } else { Duration::ZERO };
        sleep(lasts + beyond).await;
    }

    /// The places that a fault hits.
    async fn victims(&mut self, who: Who) -> Result<Vec<usize>> {
        if who == Who::All {
            return Ok(self.cluster.places());
        }
        let leader = self.cluster.leader(LEADER_IN).await?;
        let follower = self.other_than(leader)?;
        Ok(match who {
            Who::Leader => vec![leader],
            Who::Follower => vec![follower],
            Who::Two | Who::All => vec![leader, follower],
        })
    }

    fn other_than(&mut self, place: usize) -> Result<usize> {
        let others: Vec<usize> = self.cluster.places().into_iter().filter(|other| *other != place).collect();
        if others.is_empty() {
            bail!("one node alone");
        }
        Ok(others[self.random.random_range(0..others.len())])
    }

    /// Sets a rule between the victims and all others: for what they send, for what they are sent.
    async fn isolate(&mut self, who: Who, rule: Rule, sent: bool, received: bool) -> Result<()> {
        let victims = self.victims(who).await?;
        for victim in &victims {
            for other in self.cluster.places().into_iter().filter(|other| !victims.contains(other)) {
                if sent {
                    self.cluster.links.set(*victim, other, rule);
                }
                if received {
                    self.cluster.links.set(other, *victim, rule);
                }
            }
        }
        Ok(())
    }

    async fn everywhere(&mut self, rule: Rule, lasts: Duration) {
        for one in self.cluster.places() {
            for other in self.cluster.places() {
                self.cluster.links.set(one, other, rule);
            }
        }
        sleep(lasts).await;
    }

    async fn resets(&mut self, lasts: Duration) {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            let places = self.cluster.places();
            let from = places[self.random.random_range(0..places.len())];
            for to in places {
                self.cluster.links.reset(from, to);
            }
            sleep(Duration::from_millis(self.random.random_range(15..120))).await;
        }
    }

    async fn restart_within_lease(&mut self) -> Result<()> {
        let leader = self.cluster.leader(LEADER_IN).await?;
        let voter = self.other_than(leader)?;
        self.isolate(Who::Leader, CUT, true, true).await?;
        sleep(WITHIN_LEASE.mul_f64(self.random.random())).await;
        let node = self.cluster.node(voter)?;
        node.kill()?;
        node.start()?;
        // Long enough for the two to elect one of them, and for the old leader to be asked meanwhile.
        sleep(Duration::from_millis(2500)).await;
        Ok(())
    }

    async fn rolling_restart(&mut self) -> Result<()> {
        for place in self.cluster.places() {
            let node = self.cluster.node(place)?;
            node.terminate()?;
            let deadline = Instant::now() + STOP_IN;
            while node.runs()? {
                if Instant::now() > deadline {
                    bail!("node {} does not stop within {STOP_IN:?}", node.id);
                }
                sleep(Duration::from_millis(20)).await;
            }
            node.kill()?;
            node.start()?;
            self.cluster.leader(LEADER_IN).await?;
        }
        Ok(())
    }

    async fn snapshot_midway(&mut self) -> Result<()> {
        let leader = self.cluster.leader(LEADER_IN).await?;
        let away = self.other_than(leader)?;
        self.cluster.node(away)?.kill()?;
        let (writes, bytes) = BEYOND_LOG;
        let through = self.load.through(leader);
        for number in 0..writes {
            // The leader may change meanwhile; any write does.
            let _ = write(&through, &format!("fill/{}", number % 10), vec![b'f'; bytes]).await;
        }
        // Snapshots and purges are decided every second.
        sleep(Duration::from_millis(1500)).await;
        self.cluster.node(away)?.start()?;
        sleep(Duration::from_millis(self.random.random_range(100..900))).await;
        self.cluster.node(away)?.kill()?;
        Ok(())
    }

    async fn full_disk(&mut self, entirely: bool, lasts: Duration) -> Result<()> {
        self.may_fall = entirely;
        let filler = self.cluster.small_disk().join("filler");
        fill(&filler, if entirely { 0 } else { WATERMARK_BYTES / 2 })?;
        sleep(lasts + Duration::from_secs(2)).await;
        if entirely {
            // A log has room set aside, so what runs may not notice; what starts needs new files.
            let node = self.cluster.node(SMALL_DISK)?;
            node.kill()?;
            node.start()?;
            sleep(Duration::from_secs(1)).await;
        }
        std::fs::remove_file(&filler).context("emptying the disk")?;
        Ok(())
    }
}

/// Writes until only `left` bytes are free.
fn fill(path: &Path, left: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let chunk = vec![0xff; 64 << 10];
    while file.write_all(&chunk).is_ok() {}
    let length = file.metadata()?.len();
    Ok(file.set_len(length.saturating_sub(left))?)
}
