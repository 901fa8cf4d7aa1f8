//! `roostctl`, the operator's command line: `roostctl <noun> <verb>`, one file a noun.
//!
//! A verb builds a request, makes one call through `connect`, and turns the answer into a report that `output` prints.
//! Data goes to stdout and everything else to stderr; `exit` lists the exit codes.

mod alarm;
mod alias;
mod broadcast;
mod channel;
mod channel_plan;
mod cluster;
mod collection;
mod collection_report;
mod confirm;
mod connect;
mod db;
mod etcd;
mod exit;
mod grant;
mod leader;
mod log;
mod member;
mod node;
mod output;
mod partition;
mod property;
mod quota;
mod role;
mod schema_file;
mod session;
mod snapshot;
mod snapshot_file;
mod snapshot_restore;
mod state;
mod tso;
mod user;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use connect::{ConnectArgs, Dialer};
use exit::Failure;
use output::{Format, Output};

/// Operates a Roost cluster through any of its nodes
#[derive(Debug, Parser)]
#[command(name = "roostctl", version, after_help = exit::EXIT_CODES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    connect: ConnectArgs,

    /// table for people, json for programs (documented in each command's --help)
    #[arg(short = 'o', long = "output", value_name = "FORMAT", global = true, default_value = "table")]
    format: Format,

    /// Agree to a destructive command without being asked
    #[arg(short = 'y', long, global = true)]
    yes: bool,

    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Who belongs to the cluster
    #[command(subcommand)]
    Member(member::Command),
    /// Who leads
    #[command(subcommand)]
    Leader(leader::Command),
    /// Backups, and what the log may forget
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// The timestamp oracle
    #[command(subcommand)]
    Tso(tso::Command),
    /// The replicated state
    #[command(subcommand)]
    State(state::Command),
    /// What was committed
    #[command(subcommand)]
    Log(log::Command),
    /// Conditions that stop or endanger the cluster
    #[command(subcommand)]
    Alarm(alarm::Command),
    /// Databases
    #[command(subcommand)]
    Db(db::Command),
    /// Collections
    #[command(subcommand)]
    Collection(collection::Command),
    /// Partitions of a collection
    #[command(subcommand)]
    Partition(partition::Command),
    /// Further names of collections
    #[command(subcommand)]
    Alias(alias::Command),
    /// Physical channels, and the streaming nodes that have them
    #[command(subcommand)]
    Channel(channel::Command),
    /// Who may log in
    #[command(subcommand)]
    User(user::Command),
    /// What users are given to act as
    #[command(subcommand)]
    Role(role::Command),
    /// What roles may do
    #[command(subcommand)]
    Grant(grant::Command),
    /// Messages for several channels
    #[command(subcommand)]
    Broadcast(broadcast::Command),
    /// How much clients may ask for
    #[command(subcommand)]
    Quota(quota::Command),
    /// Worker nodes: query, data and streaming nodes, proxies
    #[command(subcommand)]
    Node(node::Command),
    /// Bring in the keys of another store
    #[command(subcommand)]
    Import(etcd::Import),
    /// Take keys out into another store
    #[command(subcommand)]
    Export(etcd::Export),
    /// Print a shell's completion of this command line, such as for: source <(roostctl completion bash)
    Completion { shell: Shell },
}

/// What every verb gets besides its own arguments.
struct Context {
    dialer: Dialer,
    /// The cluster's shared secret, for other APIs than the dialer's.
    secret: Option<String>,
    output: Output,
    yes: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(answer) => {
            // Also --help and --version come this way. A closed stdout or stderr is nobody's loss.
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))
        .and_then(|runtime| runtime.block_on(execute(cli, output::stdout)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                output::note(&format!("roostctl: {failure}"));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn execute(cli: Cli, write: fn(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let output = Output { format: cli.format, write };
    let (dialer, secret) = (Dialer::new(&cli.connect), cli.connect.secret);
    let context = Context { dialer, secret, output, yes: cli.yes };
    match cli.noun {
        Noun::Cluster(command) => cluster::run(&context, command).await,
        Noun::Member(command) => member::run(&context, command).await,
        Noun::Leader(command) => leader::run(&context, command).await,
        Noun::Snapshot(command) => snapshot::run(&context, command).await,
        Noun::Tso(command) => tso::run(&context, command).await,
        Noun::State(command) => state::run(&context, command).await,
        Noun::Log(command) => log::run(&context, command).await,
        Noun::Alarm(command) => alarm::run(&context, command).await,
        Noun::Db(command) => db::run(&context, command).await,
        Noun::Collection(command) => collection::run(&context, command).await,
        Noun::Partition(command) => partition::run(&context, command).await,
        Noun::Alias(command) => alias::run(&context, command).await,
        Noun::Channel(command) => channel::run(&context, command).await,
        Noun::User(command) => user::run(&context, command).await,
        Noun::Role(command) => role::run(&context, command).await,
        Noun::Grant(command) => grant::run(&context, command).await,
        Noun::Broadcast(command) => broadcast::run(&context, command).await,
        Noun::Quota(command) => quota::run(&context, command).await,
        Noun::Node(command) => node::run(&context, command).await,
        Noun::Import(command) => etcd::import(&context, command).await,
        Noun::Export(command) => etcd::export(&context, command).await,
        Noun::Completion { shell } => completion(&context, shell),
    }
}

fn completion(context: &Context, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "roostctl", &mut script);
    (context.output.write)(String::from_utf8_lossy(&script).trim_end())
}

#[cfg(test)]
mod tests;
