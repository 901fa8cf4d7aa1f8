//! `roostctl alarm list|disarm`.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::Report;
use super::view::{AlarmView, alarm_table, views};
use crate::pb::admin::{AlarmDisarmRequest, AlarmListRequest};

const JSON: &str = "JSON: {\"alarms\": [{\"kind\", \"node_id\", \"message\"}]}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the raised alarms
    #[command(after_help = JSON)]
    List,
    /// Withdraw alarms whose cause is gone; prints what was withdrawn
    #[command(after_help = JSON)]
    Disarm {
        /// Only alarms of this kind: NOSPACE, CORRUPT, ...
        #[arg(long)]
        kind: Option<String>,
        /// Only alarms that this member raised
        #[arg(long, value_name = "NODE_ID", value_parser = clap::value_parser!(u64).range(1..))]
        node: Option<u64>,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(context).await,
        Command::Disarm { kind, node } => disarm(context, kind, node).await,
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let rpc = session.call(AlarmListRequest {}, |mut client, request| async move { client.alarm_list(request).await });
    let alarms = Alarms { alarms: views(rpc.await?.alarms) };
    context.output.print(&alarms)
}

async fn disarm(context: &Context, kind: Option<String>, node: Option<u64>) -> Result<(), Failure> {
    let what = kind.as_deref().unwrap_or("every");
    let whose = node.map_or_else(String::new, |node| format!(" of node {node}"));
    confirm(context.yes, &format!("Withdraw {what} alarm{whose}? Writes that it held back go on."))?;
    let request =
        AlarmDisarmRequest { kind: kind.unwrap_or_default().to_ascii_uppercase(), node_id: node.unwrap_or_default() };
    let rpc =
        context.dialer.on_leader(request, |mut client, request| async move { client.alarm_disarm(request).await });
    let alarms = Alarms { alarms: views(rpc.await?.alarms) };
    context.output.print(&alarms)
}

#[derive(Debug, Serialize)]
struct Alarms {
    alarms: Vec<AlarmView>,
}

impl Report for Alarms {
    fn table(&self) -> String {
        match self.alarms.is_empty() {
            true => "no alarms".to_owned(),
            false => alarm_table(&self.alarms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_alarms_is_said_in_words_and_is_an_empty_list() {
        let none = Alarms { alarms: Vec::new() };
        assert_eq!(none.table(), "no alarms");
        assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"alarms":[]}"#);
    }
}
