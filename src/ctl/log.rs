//! `roostctl log tail`: what was committed, one line an entry.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::exit::{Failure, one_line};
use super::output::Report;
use crate::pb::admin::{LogEntry, LogTailRequest};

const JSON: &str = "JSON: one object a line: {\"index\", \"term\", \"kind\": command|membership|blank|..., \"text\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show committed log entries of the asked node, oldest first
    #[command(after_help = JSON)]
    Tail {
        /// How many of the newest entries
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, conflicts_with = "from")]
        last: u32,
        /// Every entry from this log index on
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
        /// Go on with entries as they are committed
        #[arg(short, long)]
        follow: bool,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Tail { last, from, follow } = command;
    if last == 0 && from.is_none() && !follow {
        return Ok(());
    }
    let session = context.dialer.any().await?;
    // A quiet cluster may commit nothing for hours; HTTP/2 pings notice a node that went away.
    let idle = (!follow).then_some(context.dialer.timeout);
    let request = LogTailRequest { from_index: from, last, follow };
    let rpc = session.open(request, idle, |mut client, request| async move { client.log_tail(request).await });
    let mut feed = rpc.await?;
    while let Some(entry) = feed.next().await? {
        context.output.print_line(&Entry::from(entry))?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct Entry {
    index: u64,
    term: u64,
    kind: String,
    text: String,
}

impl From<LogEntry> for Entry {
    fn from(entry: LogEntry) -> Self {
        Entry { index: entry.index, term: entry.term, kind: entry.kind, text: entry.text }
    }
}

impl Report for Entry {
    fn table(&self) -> String {
        format!("{:>10} {:>4} {:<10} {}", self.index, self.term, one_line(&self.kind), one_line(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_in_both_formats() {
        let entry = Entry::from(LogEntry { index: 7, term: 2, kind: "command".into(), text: "create a\nb".into() });
        assert_eq!(entry.table(), "         7    2 command    create a b");
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(json, r#"{"index":7,"term":2,"kind":"command","text":"create a\nb"}"#);
    }
}
