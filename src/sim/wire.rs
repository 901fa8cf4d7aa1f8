//! The sockets of a simulated node, which can be cut off (as by kill -9) or stand still (as by SIGSTOP): what was sent
//! to a paused node waits in the kernel, and connections of a crashed one are reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::limits;

/// What a node's sockets do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// How often it crashed. A connection lives no longer than the life in which it was made.
    pub life: u64,
    pub on: bool,
    pub paused: bool,
}

/// Connections as they come, without end.
pub fn incoming(listener: TcpListener, current: watch::Receiver<Current>) -> impl Stream<Item = io::Result<Wire>> {
    let slots = Arc::new(Semaphore::new(limits::SIM_CONNECTIONS_MAX));
    futures::stream::unfold((listener, current, slots), |(listener, current, slots)| async move {
        // The semaphore is never closed; an error of accept ends the node's server, which is then started again.
        let slot = slots.clone().acquire_owned().await.ok()?;
        let accepted = listener.accept().await.map(|(stream, _)| {
            // A latency matter only.
            let _ = stream.set_nodelay(true);
            Wire::new(stream, current.clone(), slot)
        });
        Some((accepted, (listener, current, slots)))
    })
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    life: u64,
    current: watch::Receiver<Current>,
    /// Ends with the next change.
    change: Pin<Box<dyn Future<Output = ()> + Send>>,
    _slot: OwnedSemaphorePermit,
}

impl Wire {
    fn new(stream: TcpStream, current: watch::Receiver<Current>, slot: OwnedSemaphorePermit) -> Self {
        let life = current.borrow().life;
        let change = changed(current.clone());
        Wire { stream, life, current, change, _slot: slot }
    }

    /// Ready while the node runs; whoever waits is woken when it is resumed or cut off.
    fn poll_current(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let current = *self.current.borrow_and_update();
            if self.change.as_mut().poll(context).is_ready() {
                self.change = changed(self.current.clone());
                continue;
            }
            if !current.on || current.life != self.life {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the node crashed")));
            }
            return if current.paused { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
    }
}

/// Ends when the value is another one than `current` has seen, and never if nobody can change it.
fn changed(mut current: watch::Receiver<Current>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if current.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

impl Connected for Wire {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_current(context))?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_current(context))?;
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_current(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
