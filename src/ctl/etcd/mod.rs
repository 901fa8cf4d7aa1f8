//! `roostctl import etcd` and `roostctl export etcd`: keys move between a live etcd and Roost's etcd API, at one
//! revision of the source. `copy` is the work, `store` one of the two ends, `resume` what an interrupted copy left.

mod copy;
mod pages;
mod resume;
mod store;

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::connect::Endpoint;
use super::exit::Failure;
use super::output::{Report, facts};
use copy::Copy;
use store::{Credentials, Store};

const ABOUT: &str = "\
Copies every key that begins with the prefix as it is at one revision of the source. Keys with a lease are left out and
counted: whoever holds the lease writes them again. At the end the number of keys and a BLAKE3 hash over all of them are
compared. Milvus' own keys stay etcd keys: they are served by the etcd API and are not turned into Roost's typed tables
yet, so Milvus' coordinators go on working with them, and Roost's own services do not see them.

A copy that broke off goes on when the same command is given again: the state file names the revision and the last key.
Stop the source's writers first; what they write later is not copied.";

const JSON: &str = "\
--timeout bounds a silence of the servers, not the whole copy. TLS is not spoken.
JSON: {\"from\", \"to\", \"prefix\", \"revision\", \"keys\", \"bytes\", \"leased_keys_left_out\",
       \"leased_bytes_left_out\", \"target_keys_before\", \"dry_run\", \"resumed\", \"blake3\": null in a dry run}";

#[derive(Debug, Subcommand)]
pub enum Import {
    /// From a live etcd into Roost
    #[command(long_about = format!("From a live etcd into Roost.\n\n{ABOUT}"), after_help = JSON)]
    Etcd(ImportArgs),
}

#[derive(Debug, Subcommand)]
pub enum Export {
    /// From Roost into a live etcd
    #[command(long_about = format!("From Roost into a live etcd.\n\n{ABOUT}"), after_help = JSON)]
    Etcd(ExportArgs),
}

#[derive(clap::Args, Debug)]
pub struct ImportArgs {
    #[command(flatten)]
    etcd: EtcdArgs,
    /// Client addresses of Roost's nodes
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:19530")]
    to: Vec<Endpoint>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    etcd: EtcdArgs,
    /// Client addresses of Roost's nodes
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:19530")]
    from: Vec<Endpoint>,
    #[command(flatten)]
    options: Options,
}

/// The etcd, and who we are there.
#[derive(clap::Args, Debug)]
struct EtcdArgs {
    /// Client addresses of the etcd (not Roost's: those are --endpoint, --to and --from)
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    endpoints: Vec<Endpoint>,
    /// A user of the etcd
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The user's password (better passed by the environment, where `ps` does not show it)
    #[arg(long, env = "ROOSTCTL_ETCD_PASSWORD", hide_env_values = true, hide_default_value = true)]
    password: Option<String>,
}

/// What is copied, and how.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// What the keys begin with, such as by-dev/ for a Milvus; an empty one means all keys
    #[arg(long)]
    pub prefix: String,
    /// Only count: nothing is written anywhere
    #[arg(long)]
    pub dry_run: bool,
    /// Delete what the target has under the prefix; otherwise it must have nothing there
    #[arg(long)]
    pub overwrite: bool,
    /// Where the state of the copy is kept until it is complete [default: roostctl-<import|export>-etcd.state]
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Forget an interrupted copy and begin again at the source's present revision
    #[arg(long)]
    pub restart: bool,
}

impl EtcdArgs {
    fn store(self, context: &Context) -> Store {
        let credentials = self.user.zip(self.password).map(|(name, password)| Credentials { name, password });
        Store::new("etcd", "--user and --password", self.endpoints, credentials, context.dialer.timeout)
    }
}

/// Roost knows one account, and its password is the cluster's secret.
fn roost(context: &Context, endpoints: Vec<Endpoint>) -> Store {
    let secret = context.secret.clone().filter(|secret| !secret.is_empty());
    let credentials = secret.map(|password| Credentials { name: "root".to_owned(), password });
    Store::new("Roost", "ROOST_CLUSTER_SECRET or --secret", endpoints, credentials, context.dialer.timeout)
}

pub async fn import(context: &Context, command: Import) -> Result<(), Failure> {
    let Import::Etcd(args) = command;
    let (from, to) = (args.etcd.store(context), roost(context, args.to));
    run(context, from, to, args.options, "roostctl-import-etcd.state").await
}

pub async fn export(context: &Context, command: Export) -> Result<(), Failure> {
    let Export::Etcd(args) = command;
    let (from, to) = (roost(context, args.from), args.etcd.store(context));
    run(context, from, to, args.options, "roostctl-export-etcd.state").await
}

async fn run(context: &Context, from: Store, to: Store, options: Options, state: &str) -> Result<(), Failure> {
    let state = options.state.clone().unwrap_or_else(|| PathBuf::from(state));
    let copied = Copy { from, to, options, state, yes: context.yes }.run().await?;
    context.output.print(&copied)
}

/// What was copied, or would be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Copied {
    from: String,
    to: String,
    prefix: String,
    revision: i64,
    keys: u64,
    bytes: u64,
    leased_keys_left_out: u64,
    leased_bytes_left_out: u64,
    target_keys_before: u64,
    dry_run: bool,
    resumed: bool,
    blake3: Option<String>,
}

impl Report for Copied {
    fn table(&self) -> String {
        let hash = self.blake3.clone().unwrap_or_else(|| "not compared: a dry run".to_owned());
        facts(&[
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("prefix", self.prefix.clone()),
            ("revision", self.revision.to_string()),
            ("keys", self.keys.to_string()),
            ("bytes", self.bytes.to_string()),
            (
                "left out, with a lease",
                format!("{} keys, {} bytes", self.leased_keys_left_out, self.leased_bytes_left_out),
            ),
            ("target had", format!("{} keys", self.target_keys_before)),
            ("blake3 of both", hash),
        ])
    }
}
