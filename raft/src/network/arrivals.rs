//! The peer listener has one port for two protocols. The first byte of a connection tells which one it is: appends as
//! frames, which are served here, or anything else, which is left to gRPC.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;
use tonic::transport::server::Connected;

use super::append::AppendService;
use super::channel::{Duplex, Wire};
use super::frames::Frames;
use super::greeting::FIRST_BYTE;

/// Room for the first bytes: a greeting fits, and silent strangers take little.
const HEAD_BYTES: usize = 512;

/// A connection that somebody opened, with the first bytes that came.
pub struct Arrival {
    head: BytesMut,
    wire: Wire,
}

impl Arrival {
    /// Waits for the first bytes. There are none if the connection ends at once.
    async fn receive(mut wire: Wire) -> io::Result<Self> {
        let mut head = BytesMut::with_capacity(HEAD_BYTES);
        wire.read_buf(&mut head).await?;
        Ok(Arrival { head, wire })
    }

    pub(super) fn frames(self, bytes_max: usize) -> Frames {
        Frames::new(self.wire, self.head, bytes_max)
    }
}

/// Serves what is frames among the `accepted` connections, by tasks of the current runtime that end with the stream.
/// The others come out of it, in the order of their first bytes: none waits for those of another.
pub fn divide<A, W>(accepted: A, appends: AppendService) -> impl Stream<Item = io::Result<Arrival>>
where
    A: Stream<Item = io::Result<W>>,
    W: Duplex + 'static,
{
    let listening =
        Listening { accepted: Box::pin(accepted), silent: FuturesUnordered::new(), appending: JoinSet::new(), appends };
    stream::unfold(listening, |mut listening| async move { Some((listening.next().await?, listening)) })
}

struct Listening<A> {
    accepted: Pin<Box<A>>,
    /// Connections on which nothing was said yet. Whoever accepts them bounds their number and their time.
    silent: FuturesUnordered<BoxFuture<'static, io::Result<Arrival>>>,
    appending: JoinSet<()>,
    appends: AppendService,
}

impl<A, W> Listening<A>
where
    A: Stream<Item = io::Result<W>>,
    W: Duplex + 'static,
{
    /// The next connection for gRPC.
    async fn next(&mut self) -> Option<io::Result<Arrival>> {
        loop {
            tokio::select! {
                accepted = self.accepted.next() => match accepted? {
                    Ok(wire) => self.silent.push(Arrival::receive(Box::new(wire)).boxed()),
                    Err(error) => return Some(Err(error)),
                },
                Some(arrival) = self.silent.next() => match arrival {
                    Ok(arrival) if arrival.head.first() == Some(&FIRST_BYTE) => {
                        self.appending.spawn((self.appends)(arrival));
                    }
                    Ok(arrival) if !arrival.head.is_empty() => return Some(Ok(arrival)),
                    // It was broken off, or nothing came in time.
                    Ok(_) | Err(_) => {}
                },
                Some(_) = self.appending.join_next() => {}
            }
        }
    }
}

impl Connected for Arrival {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Arrival {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.wire).poll_read(context, buffer);
        }
        let count = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head[..count]);
        self.head.advance(count);
        if self.head.is_empty() {
            self.head = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Arrival {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;

    /// Repeats what comes first, then holds the connection.
    fn echo() -> AppendService {
        Arc::new(|mut arrival: Arrival| {
            Box::pin(async move {
                let mut bytes = [0; 100];
                let count = arrival.read(&mut bytes).await.unwrap();
                arrival.write_all(&bytes[..count]).await.unwrap();
                std::future::pending().await
            })
        })
    }

    struct Door(mpsc::UnboundedSender<io::Result<DuplexStream>>);

    impl Door {
        fn connect(&self) -> DuplexStream {
            let (ours, theirs) = duplex(1 << 16);
            self.0.send(Ok(theirs)).unwrap();
            ours
        }
    }

    fn listening() -> (Door, impl Stream<Item = io::Result<Arrival>>) {
        let (sender, accepted) = mpsc::unbounded_channel();
        (Door(sender), divide(UnboundedReceiverStream::new(accepted), echo()))
    }

    #[tokio::test]
    async fn the_first_byte_tells_frames_from_everything_else() {
        let (door, calls) = listening();
        let mut calls = Box::pin(calls);
        let _silent = door.connect();
        let mut frames = door.connect();
        frames.write_all(b"\0\0\0\x01").await.unwrap();
        let mut http = door.connect();
        http.write_all(b"PRI * HT").await.unwrap();
        let mut call = calls.next().await.unwrap().unwrap();
        http.write_all(b"TP/2.0").await.unwrap();
        let mut said = [0; 14];
        call.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"PRI * HTTP/2.0");
        call.write_all(b"answer").await.unwrap();
        http.read_exact(&mut said[..6]).await.unwrap();
        assert_eq!(&said[..6], b"answer");
        frames.read_exact(&mut said[..4]).await.unwrap();
        assert_eq!(&said[..4], b"\0\0\0\x01");
        // One that ends without a word is no call.
        drop(door.connect());
        assert!(tokio::time::timeout(Duration::from_millis(50), calls.next()).await.is_err());
    }

    #[tokio::test]
    async fn whoever_stops_listening_ends_the_appends() {
        let (door, calls) = listening();
        let mut calls = Box::pin(calls);
        let mut frames = door.connect();
        frames.write_all(b"\0").await.unwrap();
        let mut http = door.connect();
        http.write_all(b"P").await.unwrap();
        let _call = calls.next().await.unwrap().unwrap();
        assert_eq!(frames.read_u8().await.unwrap(), 0);
        drop(calls);
        assert_eq!(frames.read(&mut [0]).await.unwrap(), 0, "it has ended");
    }
}
