//! A disk that fills up: writes are refused with Milvus' disk code before anything breaks, reads and drops go on, and
//! the cluster recovers by itself when there is room again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Cluster, soon};

const MIB: usize = 1 << 20;
const DISK_MIB: usize = 256;
/// Below this much free space a node raises the alarm; the alarm goes at half more.
const WATERMARK_MIB: usize = 96;
/// Milvus' "disk limit exceeded".
const DISK_LIMIT: i32 = 7;

/// A file system of its own in memory, gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason printed, where mounting is not permitted.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={DISK_MIB}m");
        let mounting = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "roost-it"]).arg(at).output();
        match mounting {
            Ok(output) if output.status.success() => Some(SmallDisk(at.to_owned())),
            Ok(output) => {
                eprintln!("SKIPPED: cannot mount a small disk: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: cannot mount a small disk: {error}");
                None
            }
        }
    }

    fn free_mib(&self) -> usize {
        let output = Command::new("df").args(["-B1M", "--output=avail"]).arg(&self.0).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().last().unwrap().trim().parse().unwrap()
    }

    /// Leaves this much free.
    fn fill_until(&self, free_mib: usize) {
        let mut file = File::create(self.0.join("somebody_elses_file")).unwrap();
        let block = vec![1; MIB];
        for _ in free_mib..self.free_mib() {
            file.write_all(&block).unwrap();
        }
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("somebody_elses_file")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The node on it is being killed at this moment; lazily is soon enough.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_recovers() {
    let watermark = (WATERMARK_MIB * MIB).to_string();
    let mut cluster = Cluster::prepare(3, vec![("ROOST_STORAGE_MIN_FREE_BYTES", watermark)]);
    let Some(disk) = SmallDisk::mount(&cluster.node(2).data_dir()) else { return };
    cluster.start_all();
    cluster.ready().await;
    cluster.client(1).create("before").await.unwrap();
    assert!(disk.free_mib() > WATERMARK_MIB * 2, "the empty node leaves room: {} MiB", disk.free_mib());

    disk.fill_until(WATERMARK_MIB / 2);
    let refusal = soon("writes are refused", async || {
        cluster.client(1).create(&format!("more_{}", rand::random::<u32>())).await.err()
    })
    .await;
    assert_eq!(refusal.code(), DISK_LIMIT, "{refusal:?}");
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.create("refused").await.unwrap_err().code(), DISK_LIMIT, "through node {id}");
        assert!(client.describe("before").await.is_ok(), "reads go on");
        client.timestamp().await.expect("timestamps go on");
    }
    let alarms = cluster.ctl(&["-o", "json", "alarm", "list"]).await.json();
    assert_eq!((&alarms["alarms"][0]["kind"], &alarms["alarms"][0]["node_id"]), (&"NOSPACE".into(), &2.into()));
    let health = cluster.ctl(&["cluster", "health"]).await;
    assert!(health.code == 6 && health.stdout.contains("NOSPACE"), "{health:?}");
    cluster.client(2).remove("before").await.expect("drops are a way out");

    disk.clear();
    soon("writes go on by themselves", async || cluster.client(3).create("after").await.ok()).await;
    assert!(cluster.client(2).describe("after").await.is_ok());
    soon("the alarm is gone", async || {
        let alarms = cluster.ctl(&["-o", "json", "alarm", "list"]).await.json();
        alarms["alarms"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    cluster.hash().await;
    cluster.kill_all();
}
