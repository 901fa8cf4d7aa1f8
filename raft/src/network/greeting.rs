//! The first frame on a connection of frames says what it is for and who calls, as the metadata of a gRPC call does;
//! the second one, the other way, whether the caller is heard.

use std::io;

use tonic::{Code, Status};

use super::MESSAGE_BYTES_MAX;
use super::frames::Frames;
use super::identity::Claims;
use crate::codec;

/// What comes before a caller is known is short.
pub const GREETING_BYTES_MAX: usize = 4 << 10;
/// What the connection is for. A build that speaks otherwise has another name for it.
pub const APPENDS: &str = "roost.append.1";
/// A greeting's length is less than 2^24, so this is the first byte. No other protocol begins with it: HTTP/2's first
/// one is `P`.
pub const FIRST_BYTE: u8 = 0;

/// Accepted, or a gRPC status' code and text.
type Answer = Result<(), (i32, String)>;

/// The calling side: returns when the other one accepts.
pub async fn greet(frames: &mut Frames, claims: &Claims) -> Result<(), Status> {
    let broken = |error: io::Error| Status::unavailable(error.to_string());
    frames.put(|out| codec::encode_into(&(APPENDS, claims), out)).map_err(broken)?;
    frames.send().await.map_err(broken)?;
    let answer = frames.frame().await.map_err(broken)?;
    let answer = answer.ok_or_else(|| Status::unavailable("the peer hung up when it was greeted"))?;
    let answer: Answer = codec::decode(&answer).map_err(broken)?;
    answer.map_err(|(code, why)| Status::new(Code::from_i32(code), why))?;
    frames.allow(MESSAGE_BYTES_MAX);
    Ok(())
}

/// The called side: returns whether the caller was accepted. Anything that is no greeting is an error.
pub async fn be_greeted(frames: &mut Frames, check: impl FnOnce(&Claims) -> Result<(), Status>) -> io::Result<bool> {
    let Some(greeting) = frames.frame().await? else { return Ok(false) };
    let (purpose, claims): (String, Claims) = codec::decode(&greeting)?;
    if purpose != APPENDS {
        return Err(codec::corrupt(format!("a connection for {purpose:?}, which this build does not know")));
    }
    let answer: Answer = check(&claims).map_err(|status| (status.code().into(), status.message().to_owned()));
    frames.put(|out| codec::encode_into(&answer, out))?;
    frames.send().await?;
    frames.allow(MESSAGE_BYTES_MAX);
    Ok(answer.is_ok())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn frames(wire: DuplexStream) -> Frames {
        Frames::new(Box::new(wire), BytesMut::new(), GREETING_BYTES_MAX)
    }

    fn claims() -> Claims {
        let (from, to, disk) = (Some(1), Some(2), Some(u64::MAX));
        Claims { secret: "s".repeat(64), cluster: None, lease_ms: Some(500), from, to, from_disk: disk, to_disk: disk }
    }

    #[tokio::test]
    async fn who_is_accepted_may_send_larger_frames() {
        let (one, two) = duplex(1 << 20);
        let (mut one, mut two) = (frames(one), frames(two));
        let expected = claims();
        let called = be_greeted(&mut two, |shown| {
            assert!(*shown == expected);
            Ok(())
        });
        let shown = claims();
        let (accepted, heard) = tokio::join!(greet(&mut one, &shown), called);
        assert!(accepted.is_ok() && heard.unwrap());
        one.put(|out| {
            out.extend_from_slice(&[0; GREETING_BYTES_MAX * 2]);
            Ok(())
        })
        .unwrap();
        one.send().await.unwrap();
        assert_eq!(two.frame().await.unwrap().map(|frame| frame.len()), Some(GREETING_BYTES_MAX * 2));
    }

    #[tokio::test]
    async fn a_refusal_comes_with_its_code_and_text() {
        let (one, two) = duplex(1 << 16);
        let (mut one, mut two) = (frames(one), frames(two));
        let claims = claims();
        let called = be_greeted(&mut two, |_| Err(Status::permission_denied("not you")));
        let (refused, heard) = tokio::join!(greet(&mut one, &claims), called);
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "not you"));
        assert!(!heard.unwrap());
    }

    #[tokio::test]
    async fn what_is_no_greeting_is_not_answered() {
        let of_another_build = codec::encode(&("roost.append.0", claims())).unwrap();
        let length = u32::try_from(of_another_build.len()).unwrap().to_be_bytes();
        for bytes in [&[&length[..], &of_another_build].concat()[..], b"\0\0\0\x03abc", b"\0\xff\0\0", b"\0\0\0\0"] {
            let (mut other, wire) = duplex(1 << 16);
            other.write_all(bytes).await.unwrap();
            let mut called = frames(wire);
            assert!(be_greeted(&mut called, |_| panic!("it was read")).await.is_err(), "{bytes:?}");
            assert_eq!(called.unsent(), 0);
        }
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_or_talks_nonsense_is_unavailable() {
        for bytes in [&b""[..], b"\0\0\0\x02ab", b"HTTP/1.1 400"] {
            let (one, mut other) = duplex(1 << 16);
            other.write_all(bytes).await.unwrap();
            other.shutdown().await.unwrap();
            let refused = greet(&mut frames(one), &claims()).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable, "{bytes:?}");
        }
    }
}
