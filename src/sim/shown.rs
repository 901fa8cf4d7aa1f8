//! The commands that ask a running simulation: one line a node or an epoch, columns apart by tabs.

use std::io::{self, Write};

use tonic::transport::{Channel, Endpoint};

use super::args::{At, Command};
use crate::limits;
use crate::pb::sim::sim_client::SimClient;
use crate::pb::sim::{self, NodesRequest, SwitchRequest, WalsRequest};

/// Asks, and prints the answer.
pub async fn ask(command: Command) -> io::Result<()> {
    let mut out = io::stdout();
    match command {
        // It does not ask.
        Command::Run(_) => Ok(()),
        Command::Nodes { control } => {
            let answer = client(&control).await?.nodes(NodesRequest {}).await.map_err(io::Error::other)?;
            writeln!(out, "number\tserver id\taddress\tpower\tpchannels\trole")?;
            answer.into_inner().nodes.into_iter().try_for_each(|node| writeln!(out, "{}", line(&node)))
        }
        Command::Wals { control, pchannel } => {
            let request = WalsRequest { pchannel, after_broadcast: u64::MAX };
            let answer = client(&control).await?.wals(request).await.map_err(io::Error::other)?.into_inner();
            writeln!(out, "pchannel\tterm\tserver id\tfirst offset\taccepted")?;
            for sim::Wal { pchannel, epochs, .. } in answer.wals {
                for sim::Epoch { term, server_id, first_offset, accepted } in epochs {
                    writeln!(out, "{pchannel}\t{term}\t{server_id}\t{first_offset}\t{accepted}")?;
                }
            }
            if answer.violations.is_empty() { Ok(()) } else { Err(io::Error::other(answer.violations.join("\n"))) }
        }
        Command::Switch { control, number, power, knobs, reports } => {
            let power = power.map_or(sim::Power::Unspecified, sim::Power::from).into();
            let (knobs, metrics) = (Some(knobs.into()), Some(reports.into()));
            let request = SwitchRequest { number, power, knobs, metrics };
            client(&control).await?.switch(request).await.map(drop).map_err(io::Error::other)
        }
    }
}

fn line(node: &sim::Node) -> String {
    let names: Vec<String> = node.channels.iter().map(|info| format!("{}@{}", info.name, info.term)).collect();
    let power = node.power().as_str_name().trim_start_matches("POWER_").to_lowercase();
    let sim::Node { number, server_id, address, role, .. } = node;
    format!("{number}\t{server_id}\t{address}\t{power}\t{}\t{role}", names.join(" "))
}

async fn client(at: &At) -> io::Result<SimClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", at.control)).map_err(io::Error::other)?;
    let channel = endpoint.connect_timeout(limits::SIM_CALL_WAIT).connect().await;
    let channel = channel.map_err(|error| io::Error::other(format!("no simulation at {}: {error}", at.control)))?;
    Ok(SimClient::new(channel).max_decoding_message_size(limits::REPLY_BYTES_MAX))
}
