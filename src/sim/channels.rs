//! The pchannels of one life of a node, each with the term under which it has it. Milvus' rules: a higher term wins,
//! within a term what was taken away does not come back, and whatever is older than that is ignored.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::wal::{Refused, Wal, Wals};
use crate::limits;
use crate::pb::streaming::{PChannelAccessMode, PChannelInfo, StreamingCode};

/// See the module.
#[derive(Debug)]
pub struct Channels {
    server_id: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The node crashed, or knows that it was declared dead: nothing is done for it any more.
    ended: bool,
    by_name: BTreeMap<String, Lifetime>,
}

#[derive(Debug)]
struct Lifetime {
    term: i64,
    /// Present while it is served.
    open: Option<Arc<Open>>,
}

/// A pchannel that is served.
#[derive(Debug)]
pub struct Open {
    pub info: PChannelInfo,
    pub server_id: i64,
    pub wal: Arc<Wal>,
    served: watch::Sender<bool>,
}

impl Open {
    /// Ends when the node does not have it any more.
    pub async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.served.subscribe().wait_for(|served| !*served).await;
    }

    pub fn is_read_only(&self) -> bool {
        self.info.access_mode == PChannelAccessMode::PchannelAccessReadonly as i32
    }

    fn close(&self) {
        self.served.send_replace(false);
    }
}

impl Channels {
    pub fn new(server_id: i64) -> Self {
        Channels { server_id, state: Mutex::default() }
    }

    pub fn server_id(&self) -> i64 {
        self.server_id
    }

    /// Takes the pchannel over.
    pub fn assign(&self, wals: &Wals, info: &PChannelInfo) -> Result<(), Refused> {
        check(info)?;
        let mut state = self.running()?;
        if let Some(last) = state.by_name.get(&info.name)
            && last.term >= info.term
        {
            return Err(ignored(info, last));
        }
        if state.by_name.len() >= limits::SIM_WALS_MAX && !state.by_name.contains_key(&info.name) {
            return Err(Refused::new(StreamingCode::ResourceAcquired, "the simulated node has too many pchannels"));
        }
        let read_only = info.access_mode == PChannelAccessMode::PchannelAccessReadonly as i32;
        let wal = if read_only { wals.get(&info.name) } else { wals.open(&info.name, info.term, self.server_id) }?;
        let open = Open { info: info.clone(), server_id: self.server_id, wal, served: watch::Sender::new(true) };
        let lifetime = Lifetime { term: info.term, open: Some(Arc::new(open)) };
        if let Some(Lifetime { open: Some(before), .. }) = state.by_name.insert(info.name.clone(), lifetime) {
            before.close();
        }
        Ok(())
    }

    /// Gives the pchannel up.
    pub fn remove(&self, info: &PChannelInfo) -> Result<(), Refused> {
        check(info)?;
        let mut state = self.running()?;
        let known = state.by_name.len();
        match state.by_name.get_mut(&info.name) {
            Some(last) if last.term > info.term || last.term == info.term && last.open.is_none() => {
                return Err(ignored(info, last));
            }
            Some(last) => {
                last.term = info.term;
                if let Some(open) = last.open.take() {
                    open.close();
                }
            }
            None if known < limits::SIM_WALS_MAX => {
                state.by_name.insert(info.name.clone(), Lifetime { term: info.term, open: None });
            }
            // It would only keep a late assignment of this very term away.
            None => {}
        }
        Ok(())
    }

    /// The pchannel, if it is served under this very term.
    pub fn get(&self, info: &PChannelInfo) -> Result<Arc<Open>, Refused> {
        let state = self.running()?;
        let open = state.by_name.get(&info.name).and_then(|lifetime| lifetime.open.clone());
        let name = &info.name;
        match open {
            None => Err(Refused::new(StreamingCode::ChannelNotExist, format!("{name} is not here"))),
            Some(open) if open.info.term != info.term => {
                let cause = format!("{name} is here under term {} and not {}", open.info.term, info.term);
                Err(Refused::new(StreamingCode::UnmatchedChannelTerm, cause))
            }
            Some(open) => Ok(open),
        }
    }

    /// What is served, sorted by name.
    pub fn served(&self) -> Vec<PChannelInfo> {
        let state = self.state.lock();
        state.by_name.values().filter_map(|lifetime| Some(lifetime.open.as_ref()?.info.clone())).collect()
    }

    /// Forgets everything, for good.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        std::mem::take(&mut state.by_name)
            .into_values()
            .filter_map(|lifetime| lifetime.open)
            .for_each(|open| open.close());
    }

    fn running(&self) -> Result<parking_lot::MutexGuard<'_, State>, Refused> {
        let state = self.state.lock();
        if state.ended {
            return Err(Refused::new(StreamingCode::OnShutdown, "this life of the node is over"));
        }
        Ok(state)
    }
}

fn check(info: &PChannelInfo) -> Result<(), Refused> {
    if info.name.is_empty() || info.name.len() > limits::SIM_NAME_BYTES_MAX || info.term <= 0 {
        return Err(Refused::new(StreamingCode::InvaildArgument, "a pchannel has a name, and a term above 0"));
    }
    Ok(())
}

fn ignored(info: &PChannelInfo, last: &Lifetime) -> Refused {
    let now = if last.open.is_some() { "here" } else { "gone" };
    let cause = format!("{} is {now} since term {}: term {} is too late", info.name, last.term, info.term);
    Refused::new(StreamingCode::IgnoredOperation, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(term: i64) -> PChannelInfo {
        PChannelInfo { name: "dml_0".into(), term, access_mode: 0 }
    }

    #[test]
    fn a_higher_term_wins_and_what_is_older_is_ignored() {
        let (wals, channels) = (Wals::new(true), Channels::new(7));
        channels.assign(&wals, &info(2)).unwrap();
        assert_eq!(channels.assign(&wals, &info(2)).unwrap_err().code, StreamingCode::IgnoredOperation);
        assert_eq!(channels.assign(&wals, &info(1)).unwrap_err().code, StreamingCode::IgnoredOperation);
        assert_eq!(channels.remove(&info(1)).unwrap_err().code, StreamingCode::IgnoredOperation);
        assert_eq!(channels.get(&info(1)).unwrap_err().code, StreamingCode::UnmatchedChannelTerm);
        assert_eq!(channels.served(), [info(2)]);
        channels.assign(&wals, &info(3)).unwrap();
        assert_eq!(channels.served(), [info(3)]);
    }

    #[test]
    fn what_was_taken_away_does_not_come_back_under_the_same_term() {
        let (wals, channels) = (Wals::new(true), Channels::new(7));
        channels.assign(&wals, &info(2)).unwrap();
        channels.remove(&info(2)).unwrap();
        assert_eq!(channels.remove(&info(2)).unwrap_err().code, StreamingCode::IgnoredOperation);
        assert_eq!(channels.assign(&wals, &info(2)).unwrap_err().code, StreamingCode::IgnoredOperation);
        assert_eq!(channels.get(&info(2)).unwrap_err().code, StreamingCode::ChannelNotExist);
        channels.assign(&wals, &info(3)).unwrap();
        // Of one that never came.
        let other = PChannelInfo { name: "dml_1".into(), ..info(4) };
        channels.remove(&other).unwrap();
        assert_eq!(channels.assign(&wals, &other).unwrap_err().code, StreamingCode::IgnoredOperation);
    }

    #[tokio::test]
    async fn whoever_uses_a_channel_hears_that_it_is_gone() {
        let (wals, channels) = (Wals::new(true), Channels::new(7));
        channels.assign(&wals, &info(2)).unwrap();
        let first = channels.get(&info(2)).unwrap();
        channels.assign(&wals, &info(3)).unwrap();
        first.closed().await;
        let second = channels.get(&info(3)).unwrap();
        channels.end();
        second.closed().await;
        assert_eq!(channels.assign(&wals, &info(4)).unwrap_err().code, StreamingCode::OnShutdown);
    }

    #[test]
    fn a_reader_fences_nobody() {
        let (wals, reader, writer) = (Wals::new(true), Channels::new(7), Channels::new(8));
        writer.assign(&wals, &info(2)).unwrap();
        let mode = PChannelAccessMode::PchannelAccessReadonly as i32;
        reader.assign(&wals, &PChannelInfo { access_mode: mode, ..info(3) }).unwrap();
        let open = writer.get(&info(2)).unwrap();
        assert!(open.wal.append(2, 8, Default::default()).is_ok() && !open.is_read_only());
    }

    #[test]
    fn nonsense_is_refused() {
        let (wals, channels) = (Wals::new(true), Channels::new(7));
        for wrong in [info(0), info(-1), PChannelInfo { name: String::new(), ..info(1) }] {
            assert_eq!(channels.assign(&wals, &wrong).unwrap_err().code, StreamingCode::InvaildArgument);
            assert_eq!(channels.remove(&wrong).unwrap_err().code, StreamingCode::InvaildArgument);
        }
    }
}
