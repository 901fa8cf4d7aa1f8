//! Names of databases and users that are gone. A new leader has proxies forget everything that has a name, and of what
//! is gone the tables know none; so every node remembers the latest. (A node that was started in between does not; then
//! a proxy may keep what it holds of a dropped database until it registers anew.)

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::limits;
use crate::replica::Replica;
use crate::shutdown::Shutdown;
use crate::state::access::AccessEvent;
use crate::state::{Event, View};

/// See the module.
#[derive(Debug, Default)]
pub struct Departed {
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    databases: VecDeque<String>,
    users: VecDeque<String>,
}

impl Departed {
    /// Listens, from this call on, until `shutdown` is asked for or the replica is gone.
    pub fn follow(self: Arc<Self>, replica: Arc<dyn Replica>, shutdown: Shutdown) -> impl Future<Output = ()> + Send {
        let mut events = replica.events();
        async move {
            loop {
                let batch = tokio::select! {
                    _ = shutdown.requested() => return,
                    batch = events.recv() => batch,
                };
                match batch {
                    Ok(batch) => batch.events.iter().for_each(|event| self.note(replica.as_ref(), event)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    fn note(&self, replica: &dyn Replica, event: &Event) {
        match event {
            Event::DatabaseDropped { name, .. } => keep(&mut self.names.lock().databases, name),
            Event::Access(AccessEvent::User { name }) if is_gone(replica, name) => {
                keep(&mut self.names.lock().users, name);
            }
            _ => {}
        }
    }

    pub fn databases(&self) -> Vec<String> {
        self.names.lock().databases.iter().cloned().collect()
    }

    pub fn users(&self) -> Vec<String> {
        self.names.lock().users.iter().cloned().collect()
    }
}

fn keep(names: &mut VecDeque<String>, name: &str) {
    names.retain(|known| known != name);
    if names.len() >= limits::DEPARTED_NAMES_MAX {
        names.pop_front();
    }
    names.push_back(name.to_owned());
}

fn is_gone(replica: &dyn Replica, user: &str) -> bool {
    let found = replica.view().and_then(|view| View::new(view.as_ref()).access().user(user));
    matches!(found, Ok(None))
}
