//! One way for a process to be told to stop. The first SIGTERM or SIGINT asks everybody to finish; a second one means
//! that finishing takes too long, and ends the process at once (safe: what was acknowledged is on disk).

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What shells report for a process that a signal ended, less the signal's number.
const SIGNAL_EXIT_BASE: i32 = 128;

/// Asks for the stop. Clones ask for the same one.
#[derive(Clone, Debug)]
pub struct Trigger {
    sender: Arc<watch::Sender<Option<&'static str>>>,
}

/// Waits for the stop. Clones wait for the same one.
#[derive(Clone, Debug)]
pub struct Shutdown {
    receiver: watch::Receiver<Option<&'static str>>,
}

/// A shutdown that only code triggers: for tests, and to build the one of a process.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(None);
    (Trigger { sender: Arc::new(sender) }, Shutdown { receiver })
}

/// A shutdown that SIGTERM and SIGINT trigger. Must be called within a tokio runtime.
pub fn on_signals() -> io::Result<(Trigger, Shutdown)> {
    let (trigger, shutdown) = channel();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = trigger.clone();
    tokio::spawn(async move {
        loop {
            let (name, kind) = tokio::select! {
                Some(()) = terminate.recv() => ("SIGTERM", SignalKind::terminate()),
                Some(()) = interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
                else => return,
            };
            if !asked.fire(name) {
                tracing::warn!(signal = name, "asked again while shutting down: exiting at once");
                std::process::exit(SIGNAL_EXIT_BASE + kind.as_raw_value());
            }
        }
    });
    Ok((trigger, shutdown))
}

impl Trigger {
    /// Asks everybody to finish. The first reason stays; returns whether this was the first.
    pub fn fire(&self, reason: &'static str) -> bool {
        self.sender.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(reason);
            }
            first
        })
    }
}

impl Shutdown {
    /// Waits until the stop is asked for, and says why. At once when it already was.
    pub async fn requested(&self) -> &'static str {
        let mut receiver = self.receiver.clone();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or("stopped"),
            // Nobody is left who could ask, so nobody wants this to go on.
            Err(_) => "abandoned",
        }
    }

    /// Why it was asked for, if it was.
    pub fn reason(&self) -> Option<&'static str> {
        *self.receiver.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_the_first_reason() {
        let (trigger, shutdown) = channel();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        assert_eq!(shutdown.reason(), None);
        assert!(trigger.fire("first"));
        assert!(!trigger.clone().fire("second"));
        assert_eq!(waiting.await.unwrap(), "first");
        assert_eq!(shutdown.clone().requested().await, "first");
    }

    #[tokio::test]
    async fn a_lost_trigger_does_not_hang() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        assert_eq!(shutdown.requested().await, "abandoned");
    }
}
