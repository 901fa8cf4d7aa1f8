//! Frames on a connection: a length (u32, big-endian) and so many bytes. Many frames are read at once and written at
//! once; a frame's bytes are shared with what is made of them, not copied.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::channel::Wire;
use crate::codec::{self, corrupt};

/// Bytes of a frame's length.
const LENGTH: usize = 4;
/// Room for what is read at once. What is made of a frame keeps its whole buffer, which must not be much larger.
const READ_BYTES: usize = 16 << 10;
/// With less room left, a new buffer is made.
const READ_BYTES_MIN: usize = 2 << 10;
/// Larger buffers are given back once they are empty.
const KEPT_BYTES: usize = 256 << 10;

/// One connection. Every method may be given up at any time and called again.
pub struct Frames {
    wire: Wire,
    input: BytesMut,
    output: Vec<u8>,
    /// So much of `output` has left.
    sent: usize,
    /// Of a frame, in both directions.
    bytes_max: usize,
}

impl Frames {
    /// `input` is what was already read from the connection. Frames have up to `bytes_max` bytes.
    pub fn new(wire: Wire, input: BytesMut, bytes_max: usize) -> Self {
        Frames { wire, input, output: Vec::new(), sent: 0, bytes_max }
    }

    /// From now on, frames have up to `bytes_max` bytes.
    pub fn allow(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Puts what `fill` appends into a frame, to be sent by [`Frames::poll_send`]. An error puts nothing.
    pub fn put(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let bytes_max = self.bytes_max;
        codec::sized(&mut self.output, |out| {
            let start = out.len();
            fill(out)?;
            match out.len() - start {
                length if length > bytes_max => Err(too_long(length)),
                _ => Ok(()),
            }
        })
    }

    /// Sends what was put, if anything was.
    pub fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.output.get(self.sent..) {
            match Pin::new(&mut self.wire).poll_write(context, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => self.sent += count,
                Poll::Pending => {
                    // More may be put behind a frame of which a slow reader never takes the end.
                    if self.sent > KEPT_BYTES {
                        self.output.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Poll::Pending;
                }
            }
        }
        ready!(Pin::new(&mut self.wire).poll_flush(context))?;
        self.sent = 0;
        self.output.clear();
        if self.output.capacity() > KEPT_BYTES {
            self.output = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame. `None`: the other side has ended the connection, and not within a frame.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            let missing = match self.input.first_chunk::<LENGTH>() {
                None => LENGTH - self.input.len(),
                Some(length) => {
                    let length = u32::from_be_bytes(*length) as usize;
                    if length > self.bytes_max {
                        return Poll::Ready(Err(too_long(length)));
                    }
                    if let Some(missing @ 1..) = (LENGTH + length).checked_sub(self.input.len()) {
                        missing
                    } else {
                        return Poll::Ready(Ok(Some(self.take(length))));
                    }
                }
            };
            if self.input.capacity() - self.input.len() < missing.max(READ_BYTES_MIN) {
                self.input.reserve(missing.max(READ_BYTES));
            }
            let reading = pin!(self.wire.read_buf(&mut self.input));
            if ready!(reading.poll(context))? == 0 {
                let ended = match self.input.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
                return Poll::Ready(ended);
            }
        }
    }

    /// A frame of which everything is here.
    fn take(&mut self, length: usize) -> Bytes {
        self.input.advance(LENGTH);
        let frame = self.input.split_to(length).freeze();
        if length > KEPT_BYTES {
            // The buffer was made for this frame.
            self.input = BytesMut::from(&self.input[..]);
        }
        frame
    }

    /// As [`Frames::poll_send`].
    pub async fn send(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_send(context)).await
    }

    /// As [`Frames::poll_frame`].
    pub async fn frame(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|context| self.poll_frame(context)).await
    }
}

fn too_long(length: usize) -> io::Error {
    corrupt(format!("a frame of {length} bytes is longer than any that is meant"))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn frames(wire: DuplexStream, bytes_max: usize) -> Frames {
        Frames::new(Box::new(wire), BytesMut::new(), bytes_max)
    }

    fn put(frames: &mut Frames, bytes: &[u8]) -> io::Result<()> {
        frames.put(|out| {
            out.extend_from_slice(bytes);
            Ok(())
        })
    }

    #[tokio::test]
    async fn a_frame_is_as_long_as_it_says() {
        let (mut other, wire) = duplex(100);
        let mut ours = frames(wire, 5);
        put(&mut ours, b"abc").unwrap();
        put(&mut ours, b"").unwrap();
        assert!(put(&mut ours, b"abcdef").is_err(), "longer than meant");
        assert!(ours.put(|_| Err(io::ErrorKind::Other.into())).is_err());
        ours.send().await.unwrap();
        let mut sent = [0; 11];
        other.read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"\0\0\0\x03abc\0\0\0\0");
        assert_eq!(ours.unsent(), 0, "and nothing of what was refused");
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_cut_off_is_an_error() {
        for (bytes, kind) in [
            (&b"\0\0\0\x06abcdef"[..], io::ErrorKind::InvalidData),
            (b"\xff\xff\xff\xff", io::ErrorKind::InvalidData),
            (b"\0\0\0\x05abcd", io::ErrorKind::UnexpectedEof),
            (b"\0\0\0", io::ErrorKind::UnexpectedEof),
        ] {
            let (mut other, wire) = duplex(100);
            other.write_all(bytes).await.unwrap();
            drop(other);
            assert_eq!(frames(wire, 5).frame().await.unwrap_err().kind(), kind, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first_and_an_end_between_frames_is_no_error() {
        let (mut other, wire) = duplex(100);
        other.write_all(b"\x02ab\0\0\0\x01c").await.unwrap();
        drop(other);
        let mut ours = Frames::new(Box::new(wire), BytesMut::from(&b"\0\0\0"[..]), 5);
        assert_eq!(ours.frame().await.unwrap().as_deref(), Some(&b"ab"[..]));
        assert_eq!(ours.frame().await.unwrap().as_deref(), Some(&b"c"[..]));
        assert_eq!(ours.frame().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_large_buffer_is_not_kept() {
        let (one, other) = duplex(64 << 20);
        let (mut one, mut other) = (frames(one, 4 << 20), frames(other, 4 << 20));
        put(&mut one, &vec![7; 3 << 20]).unwrap();
        put(&mut one, b"more").unwrap();
        one.send().await.unwrap();
        assert_eq!(other.frame().await.unwrap().map(|frame| frame.len()), Some(3 << 20));
        assert_eq!(other.frame().await.unwrap().as_deref(), Some(&b"more"[..]));
        assert!(other.input.capacity() <= KEPT_BYTES, "{}", other.input.capacity());
        assert!(one.output.capacity() <= KEPT_BYTES, "{}", one.output.capacity());
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_put_however_they_are_cut(
            sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..20),
            pipe in 1..5000_usize,
        ) {
            let (one, other) = duplex(pipe);
            let (mut one, mut other) = (frames(one, 3000), frames(other, 3000));
            let mut got = Vec::new();
            let mut waiting = sent.iter();
            while got.len() < sent.len() {
                if let Some(bytes) = waiting.next() {
                    put(&mut one, bytes).unwrap();
                }
                let _ = one.send().now_or_never();
                while let Some(frame) = other.frame().now_or_never() {
                    got.push(frame.unwrap().unwrap());
                    let _ = one.send().now_or_never();
                }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut other, wire) = duplex(200);
            other.write_all(&bytes).now_or_never().unwrap().unwrap();
            drop(other);
            let mut ours = frames(wire, 100);
            while let Some(Ok(Some(frame))) = ours.frame().now_or_never() {
                prop_assert!(frame.len() <= 100);
            }
        }
    }
}
