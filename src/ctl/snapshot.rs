//! `roostctl snapshot save|restore|status|trigger`. `restore` works offline, on a stopped node's directory.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use roost_raft::snapshot::SnapshotFile;
use serde::Serialize;

use super::Context;
use super::exit::Failure;
use super::member::MemberArg;
use super::output::{Report, facts, or_dash};
use super::session::Feed;
use super::snapshot_file::PartialFile;
use super::snapshot_restore;
use super::view::hex;
use crate::pb::admin::snapshot_save_chunk::Part;
use crate::pb::admin::{
    SnapshotBegin, SnapshotSaveChunk, SnapshotSaveRequest, SnapshotStatusRequest, SnapshotStatusResponse,
    SnapshotTriggerRequest, SnapshotTriggerResponse,
};

const SAVE_JSON: &str = "\
The file grows as FILE.partial and gets its name when it is complete, verified and synced. --timeout bounds a silence of
the node, not the whole transfer.
JSON: {\"file\", \"bytes\", \"blake3\", \"node_id\", \"cluster_id\", \"index\", \"term\", \"state_hash\"}";
const RESTORE_JSON: &str = "\
Run it once for each member of the new cluster, each with its own --node-id and --data-dir, and with the same FILE and
the same --member list; then start the nodes. The restored cluster has a new cluster id; ids and revisions are moved on,
so that nothing of the old cluster can be mistaken for something of the new one. A directory in use is refused; an
existing one is kept beside the new one under the name DIR.replaced-<time>.
JSON: {\"data_dir\", \"node_id\", \"cluster_id\", \"index\", \"replaced\": path of the old directory or null}";
const STATUS_JSON: &str = "\
JSON: {\"node_id\", \"index\", \"term\", \"first_log_index\", \"last_log_index\", \"applied_index\"}
      index 0: no snapshot
With FILE: {\"file\", \"cluster_id\" or null, \"node_id\", \"index\", \"term\", \"members\": [id], \"rows\",
            \"state_hash\"}";
const TRIGGER_JSON: &str = "JSON: {\"node_id\", \"index\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Save a consistent snapshot of the asked node to a file
    #[command(after_help = SAVE_JSON)]
    Save {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Replace FILE if it exists
        #[arg(long)]
        force: bool,
    },
    /// Make the data directory of one member of a new cluster from a snapshot file (offline)
    #[command(after_help = RESTORE_JSON)]
    Restore(RestoreArgs),
    /// Show the newest snapshot of the asked node and how far its log reaches, or check a snapshot file (offline)
    #[command(after_help = STATUS_JSON)]
    Status {
        /// A file that `snapshot save` wrote: read to its end, every checksum compared
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Build a snapshot on the asked node now, so that its log can be shortened
    #[command(after_help = TRIGGER_JSON)]
    Trigger,
}

#[derive(clap::Args, Debug)]
pub struct RestoreArgs {
    /// A file that `snapshot save` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The data directory to make
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Whose directory it is; one of the members
    #[arg(long, value_name = "NODE_ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub node_id: u64,
    /// A voter of the new cluster; repeat it for each, the same for every node
    #[arg(long = "member", value_name = "id=N,peer=H:P,client=H:P,internal=H:P", required = true)]
    pub members: Vec<MemberArg>,
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Save { file, force } => save(context, &file, force).await,
        Command::Restore(args) => snapshot_restore::run(context, &args),
        Command::Status { file: None } => status(context).await,
        Command::Status { file: Some(file) } => check(context, &file),
        Command::Trigger => trigger(context).await,
    }
}

async fn save(context: &Context, target: &Path, force: bool) -> Result<(), Failure> {
    let mut file = PartialFile::create(target, force)?;
    let session = context.dialer.any().await?;
    let rpc = session.open(SnapshotSaveRequest {}, Some(context.dialer.timeout), |mut client, request| async move {
        client.snapshot_save(request).await
    });
    let mut feed = rpc.await?;
    let Some(Part::Begin(begin)) = next_part(&mut feed).await? else {
        return Err(Failure::Failed(format!("{}: the stream does not begin as a snapshot", session.node)));
    };
    let end = loop {
        match next_part(&mut feed).await? {
            Some(Part::Data(data)) => file.write(&data)?,
            Some(Part::End(end)) => break end,
            Some(Part::Begin(_)) | None => {
                let (node, bytes) = (&session.node, file.bytes());
                return Err(Failure::Failed(format!("{node}: the stream broke off after {bytes} bytes")));
            }
        }
    };
    let checksum = file.finish(end.bytes, &end.blake3, |partial| SnapshotFile::verify(partial).map(drop))?;
    context.output.print(&Saved::new(target, end.bytes, &checksum, begin))
}

async fn next_part(feed: &mut Feed<SnapshotSaveChunk>) -> Result<Option<Part>, Failure> {
    Ok(feed.next().await?.and_then(|chunk| chunk.part))
}

#[derive(Debug, Serialize)]
struct Saved {
    file: String,
    bytes: u64,
    blake3: String,
    node_id: u64,
    cluster_id: String,
    index: u64,
    term: u64,
    state_hash: String,
}

impl Saved {
    fn new(target: &Path, bytes: u64, checksum: &blake3::Hash, begin: SnapshotBegin) -> Self {
        Saved {
            file: target.display().to_string(),
            bytes,
            blake3: checksum.to_hex().to_string(),
            node_id: begin.node_id,
            cluster_id: begin.cluster_id,
            index: begin.index,
            term: begin.term,
            state_hash: hex(&begin.state_hash),
        }
    }
}

impl Report for Saved {
    fn table(&self) -> String {
        facts(&[
            ("file", self.file.clone()),
            ("bytes", self.bytes.to_string()),
            ("blake3", self.blake3.clone()),
            ("node", self.node_id.to_string()),
            ("cluster", self.cluster_id.clone()),
            ("index", self.index.to_string()),
            ("term", self.term.to_string()),
            ("state_hash", self.state_hash.clone()),
        ])
    }
}

async fn status(context: &Context) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let rpc = session
        .call(SnapshotStatusRequest {}, |mut client, request| async move { client.snapshot_status(request).await });
    let status = Newest::from(rpc.await?);
    context.output.print(&status)
}

#[derive(Debug, Serialize)]
struct Newest {
    node_id: u64,
    index: u64,
    term: u64,
    first_log_index: u64,
    last_log_index: u64,
    applied_index: u64,
}

impl From<SnapshotStatusResponse> for Newest {
    fn from(status: SnapshotStatusResponse) -> Self {
        Newest {
            node_id: status.node_id,
            index: status.index,
            term: status.term,
            first_log_index: status.first_log_index,
            last_log_index: status.last_log_index,
            applied_index: status.applied_index,
        }
    }
}

impl Report for Newest {
    fn table(&self) -> String {
        let snapshot = match self.index {
            0 => "none".to_owned(),
            index => format!("up to {index} of term {}", self.term),
        };
        facts(&[
            ("node", self.node_id.to_string()),
            ("snapshot", snapshot),
            ("log", format!("{} to {}", self.first_log_index, self.last_log_index)),
            ("applied", self.applied_index.to_string()),
        ])
    }
}

fn check(context: &Context, file: &Path) -> Result<(), Failure> {
    let found = SnapshotFile::verify(file).map_err(|error| Failure::io(file.display(), &error))?;
    context.output.print(&Checked::from(found))
}

/// What a whole, undamaged snapshot file holds.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    cluster_id: Option<String>,
    node_id: u64,
    index: u64,
    term: u64,
    members: Vec<u64>,
    rows: u64,
    state_hash: String,
}

impl From<SnapshotFile> for Checked {
    fn from(SnapshotFile { path, header, rows, .. }: SnapshotFile) -> Self {
        Checked {
            file: path.display().to_string(),
            cluster_id: header.cluster_id.map(|id| id.to_string()),
            node_id: header.node_id,
            index: header.last_log_id.map_or(0, |id| id.index()),
            term: header.last_log_id.map_or(0, |id| **id.committed_leader_id()),
            members: header.membership.membership().nodes().map(|(id, _)| *id).collect(),
            rows,
            state_hash: header.hash.to_string(),
        }
    }
}

impl Report for Checked {
    fn table(&self) -> String {
        let members: Vec<String> = self.members.iter().map(u64::to_string).collect();
        facts(&[
            ("file", format!("{}: whole and undamaged", self.file)),
            ("cluster", or_dash(self.cluster_id.as_ref())),
            ("node", self.node_id.to_string()),
            ("index", self.index.to_string()),
            ("term", self.term.to_string()),
            ("members", members.join(", ")),
            ("rows", self.rows.to_string()),
            ("state_hash", self.state_hash.clone()),
        ])
    }
}

async fn trigger(context: &Context) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let rpc = session
        .call(SnapshotTriggerRequest {}, |mut client, request| async move { client.snapshot_trigger(request).await });
    let built = Built::from(rpc.await?);
    context.output.print(&built)
}

#[derive(Debug, Serialize)]
struct Built {
    node_id: u64,
    index: u64,
}

impl From<SnapshotTriggerResponse> for Built {
    fn from(built: SnapshotTriggerResponse) -> Self {
        Built { node_id: built.node_id, index: built.index }
    }
}

impl Report for Built {
    fn table(&self) -> String {
        format!("node {} has a snapshot up to {}", self.node_id, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_snapshot_as_json() {
        let begin = SnapshotBegin { node_id: 2, cluster_id: "c".into(), index: 9, term: 3, state_hash: vec![0xab] };
        let saved = Saved::new(Path::new("/b/file"), 3, &blake3::hash(b"abc"), begin);
        let json = serde_json::to_value(&saved).unwrap();
        assert_eq!((json["file"].as_str(), json["index"].as_u64()), (Some("/b/file"), Some(9)));
        assert_eq!(json["state_hash"], "ab");
        assert_eq!(json["blake3"], blake3::hash(b"abc").to_hex().as_str());
    }

    #[test]
    fn no_snapshot_is_said_in_words() {
        let none = Newest::from(SnapshotStatusResponse { node_id: 1, first_log_index: 1, ..Default::default() });
        assert!(none.table().contains("snapshot: none"), "{}", none.table());
    }
}
