//! Both ends of a connection of appends, over a pipe in memory.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures::{FutureExt, StreamExt, stream};
use openraft::raft::StreamAppendError;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::service::answer;
use super::*;
use crate::network::MESSAGE_BYTES_MAX;
use crate::types::{Command, CommandKind, CommittedLeaderId, Entry, LogId, Payload, Vote};

const NO_PROGRESS: Duration = Duration::from_secs(1);

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(7), index)
}

/// An append of the entry at `index`, with so many bytes.
fn append(index: u64, bytes: usize) -> Request {
    let command = Command { kind: CommandKind::App, term: 7, proposer: 2, data: vec![b'x'; bytes].into() };
    Request {
        vote: Vote::new_committed(7, 2),
        prev_log_id: (index > 1).then(|| log_id(index - 1)),
        entries: vec![Entry { log_id: log_id(index), payload: Payload::Normal(command) }],
        leader_commit: None,
    }
}

fn frames(wire: DuplexStream) -> Frames {
    Frames::new(Box::new(wire), BytesMut::new(), MESSAGE_BYTES_MAX)
}

fn bytes_of(put: impl FnOnce(&mut Frames)) -> Vec<u8> {
    let (mut other, wire) = duplex(1 << 20);
    let mut ours = frames(wire);
    put(&mut ours);
    ours.send().now_or_never().unwrap().unwrap();
    drop(ours);
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut other, &mut bytes).now_or_never().unwrap().unwrap();
    bytes
}

/// What a peer says that has everything up to the last entry.
async fn accept(request: Request) -> Answer {
    Ok(Ok(request.entries.last().map(|entry| entry.log_id)))
}

fn opening(wire: DuplexStream) -> Opening {
    async { Ok(frames(wire)) }.boxed()
}

/// A line, and a peer that executes what comes on it.
async fn line_to<F>(peer: impl Fn(Request) -> F + Send + 'static) -> Line
where
    F: Future<Output = Answer> + Send + 'static,
{
    let (ours, theirs) = duplex(1 << 16);
    tokio::spawn(answer(frames(theirs), peer));
    let mut line = Line::default();
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    line
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes_of_requests_and_answers() {
    let sent = bytes_of(|frames| put_request(frames, &append(300, 2)).unwrap());
    let head = "01070102010107fb2b0100";
    let entry = "010000000000000007000000000000012c01000000000000000700000000000000027878";
    assert_eq!(hex(&sent), format!("000000370000000b{head}00000024{entry}"));
    let answer: Answer = Ok(Ok(Some(log_id(300))));
    assert_eq!(hex(&codec::encode(&answer).unwrap()), "0100000107fb2c01");
}

#[tokio::test]
async fn every_append_is_answered_for_and_the_line_stays() {
    let mut line = line_to(accept).await;
    for first in [1, 101] {
        let requests = stream::iter((first..first + 100).map(|index| append(index, 1000)));
        let answers: Vec<_> = Appending::new(&mut line, requests, NO_PROGRESS).collect().await;
        assert!(answers.len() <= 100);
        assert_eq!(answers.last().unwrap().as_ref().unwrap(), &Ok(Some(log_id(first + 99))));
        line.open(None, NO_PROGRESS, || panic!("it is open")).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_success_ends_the_stream_and_not_the_line() {
    async fn conflict_at_two(request: Request) -> Answer {
        match request.prev_log_id {
            Some(id) if id.index() == 1 => Ok(Err(StreamAppendError::Conflict(id))),
            _ => accept(request).await,
        }
    }
    let mut line = line_to(conflict_at_two).await;
    let requests = stream::iter((1..5).map(|index| append(index, 1)));
    let answers: Vec<_> = Appending::new(&mut line, requests, NO_PROGRESS).collect().await;
    assert_eq!(answers.last().unwrap().as_ref().unwrap(), &Err(StreamAppendError::Conflict(log_id(1))));
    // The answers to what was sent behind it belong to nobody.
    line.open(None, NO_PROGRESS, || panic!("it is open")).await.unwrap();
    let mut answers = Appending::new(&mut line, stream::iter([append(9, 1)]), NO_PROGRESS);
    assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(9))));
    assert!(answers.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_is_cut_off_and_connected_to_again() {
    let (ours, theirs) = duplex(1 << 16);
    let mut line = Line::default();
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    let begin = Instant::now();
    let requests = stream::iter([append(1, 1)]).chain(stream::pending());
    let answers: Vec<_> = Appending::new(&mut line, requests.boxed(), NO_PROGRESS).collect().await;
    assert!(answers.len() == 1 && answers[0].is_err(), "{answers:?}");
    let waited = begin.elapsed();
    assert!((NO_PROGRESS..NO_PROGRESS * 2).contains(&waited), "{waited:?}");
    assert!(matches!(line, Line::Closed));
    let (ours, _peer) = duplex(1 << 16);
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    assert!(matches!(line, Line::Open(_)));
    drop(theirs);
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_fault_where_nothing_was_asked() {
    let mut line = line_to(accept).await;
    let (requests, queue) = mpsc::unbounded_channel();
    let mut answers = Appending::new(&mut line, UnboundedReceiverStream::new(queue), NO_PROGRESS);
    for index in 1..4 {
        assert!(tokio::time::timeout(NO_PROGRESS * 5, answers.next()).await.is_err());
        requests.send(append(index, 1)).unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(index))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_not_asked_for_more() {
    let (ours, _theirs) = duplex(1 << 16);
    let mut line = Line::default();
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let requests = stream::iter(1..10_000).map(move |index| {
        count.fetch_add(1, Ordering::Relaxed);
        append(index, 1 << 10)
    });
    let mut answers = Appending::new(&mut line, requests, NO_PROGRESS);
    assert!(answers.next().await.unwrap().is_err());
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

/// Else an answer would count for a request that the peer has not seen.
#[tokio::test]
async fn a_request_is_made_when_the_one_before_it_was_answered() {
    let (release, held) = tokio::sync::watch::channel(0);
    let mut line = line_to(move |request| {
        let mut held = held.clone();
        async move {
            let index = request.entries.last().map_or(0, |entry| entry.log_id.index());
            let _ = held.wait_for(|released| *released >= index).await;
            accept(request).await
        }
    })
    .await;
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let requests = stream::iter(1..4).map(move |index| {
        count.fetch_add(1, Ordering::Relaxed);
        append(index, 1)
    });
    let mut answers = Appending::new(&mut line, requests, NO_PROGRESS);
    for index in 1..4 {
        assert!(tokio::time::timeout(Duration::from_millis(20), answers.next()).await.is_err());
        assert_eq!(made.load(Ordering::Relaxed) as u64, index);
        release.send_replace(index);
        assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(index))));
    }
}

#[tokio::test]
async fn a_peer_that_is_known_on_another_disk_is_greeted_anew() {
    let (mut line, mut peers) = (Line::default(), Vec::new());
    for (disk, greeted) in [(None, true), (None, false), (Some(7), true), (Some(7), false), (Some(8), true)] {
        let (ours, theirs) = duplex(100);
        peers.push(theirs);
        let called = RefCell::new(false);
        line.open(disk, NO_PROGRESS, || {
            called.replace(true);
            opening(ours)
        })
        .await
        .unwrap();
        assert_eq!(called.take(), greeted, "{disk:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_fails_what_is_open_and_is_made_again() {
    let (ours, theirs) = duplex(1 << 16);
    let mut line = Line::default();
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    let (requests, queue) = mpsc::unbounded_channel();
    requests.send(append(1, 1)).unwrap();
    let mut answers = Appending::new(&mut line, UnboundedReceiverStream::new(queue), NO_PROGRESS);
    assert!(answers.next().now_or_never().is_none());
    drop(theirs);
    assert!(answers.next().await.unwrap().is_err());
    assert!(answers.next().await.is_none());
    let (ours, theirs) = duplex(1 << 16);
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    // One that ends while nobody looks is found before it is used.
    drop(theirs);
    let (ours, theirs) = duplex(1 << 16);
    tokio::spawn(answer(frames(theirs), accept));
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    let mut answers = Appending::new(&mut line, stream::iter([append(1, 1)]), NO_PROGRESS);
    assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(1))));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_given_up_leaves_its_answers_to_nobody() {
    let (release, held) = tokio::sync::watch::channel(false);
    let mut line = line_to(move |request| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|released| *released).await;
            accept(request).await
        }
    })
    .await;
    let mut answers = Appending::new(&mut line, stream::iter([append(1, 1)]), NO_PROGRESS);
    assert!(tokio::time::timeout(NO_PROGRESS / 4, answers.next()).await.is_err());
    line.open(None, NO_PROGRESS, || panic!("it is open")).await.unwrap();
    let mut answers = Appending::new(&mut line, stream::iter([append(2, 1)]), NO_PROGRESS);
    assert!(answers.next().now_or_never().is_none());
    release.send_replace(true);
    assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(2))));
    assert!(answers.next().await.is_none());
    // But not for ever.
    release.send_replace(false);
    let mut answers = Appending::new(&mut line, stream::iter([append(3, 1)]), NO_PROGRESS);
    assert!(answers.next().now_or_never().is_none());
    tokio::time::sleep(NO_PROGRESS).await;
    let (ours, _theirs) = duplex(100);
    let opened = RefCell::new(false);
    line.open(None, NO_PROGRESS, || {
        opened.replace(true);
        opening(ours)
    })
    .await
    .unwrap();
    assert!(opened.take());
}

#[tokio::test]
async fn an_opening_that_was_given_up_goes_on_with_the_next_stream() {
    let (connected, connecting) = tokio::sync::oneshot::channel();
    let connecting = connecting.map(|wire| Ok(frames(wire.unwrap()))).boxed();
    let mut line = Line::default();
    assert!(line.open(None, NO_PROGRESS, || connecting).now_or_never().is_none());
    let (ours, _theirs) = duplex(100);
    connected.send(ours).unwrap();
    line.open(None, NO_PROGRESS, || panic!("it is being opened")).await.unwrap();
    assert!(matches!(line, Line::Open(_)));
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_an_error() {
    let (ours, theirs) = duplex(1 << 16);
    let mut line = Line::default();
    line.open(None, NO_PROGRESS, || opening(ours)).await.unwrap();
    let mut peer = frames(theirs);
    let unasked: Answer = Ok(Ok(None));
    peer.put(|out| codec::encode_into(&unasked, out)).unwrap();
    peer.send().await.unwrap();
    let mut answers = Appending::new(&mut line, stream::pending(), NO_PROGRESS);
    assert!(answers.next().await.unwrap().is_err());
}

#[tokio::test]
async fn a_peer_without_raft_is_left_alone_for_a_while() {
    let mut line = line_to(async |_| Err("it has stopped".to_owned())).await;
    let mut answers = Appending::new(&mut line, stream::iter([append(1, 1)]), NO_PROGRESS);
    let failed = answers.next().await.unwrap().unwrap_err();
    assert!(matches!(failed, openraft::errors::RPCError::Unreachable(_)), "{failed}");
}

#[tokio::test]
async fn no_more_is_read_than_raft_takes() {
    let (ours, theirs) = duplex(1 << 20);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(answer(frames(theirs), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    }));
    let mut ours = frames(ours);
    for index in 1..200 {
        put_request(&mut ours, &append(index, 1)).unwrap();
    }
    ours.send().await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 64);
}

#[tokio::test]
async fn what_is_no_request_ends_the_connection() {
    for (bytes, kind) in [
        (&b"\xff\0\0\0"[..], io::ErrorKind::InvalidData),
        (b"\0\0\0\x02ab", io::ErrorKind::InvalidData),
        (b"\0\0\0\0", io::ErrorKind::InvalidData),
        (b"\0\0\0\x20cut off", io::ErrorKind::UnexpectedEof),
    ] {
        let (mut ours, theirs) = duplex(1 << 16);
        ours.write_all(&bytes_of(|frames| put_request(frames, &append(1, 9)).unwrap())).await.unwrap();
        ours.write_all(bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        assert_eq!(answer(frames(theirs), accept).await.unwrap_err().kind(), kind, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn requests_arrive_as_they_were_sent(entries in proptest::collection::vec(0..2000_usize, 0..20)) {
        let mut sent = append(1, 0);
        sent.entries = entries.iter().zip(1..).flat_map(|(bytes, index)| append(index, *bytes).entries).collect();
        let bytes = bytes_of(|frames| put_request(frames, &sent).unwrap());
        let read = request(Bytes::from(bytes).slice(4..)).unwrap();
        prop_assert_eq!(read.entries, sent.entries);
        prop_assert_eq!((read.vote, read.prev_log_id, read.leader_commit), (sent.vote, sent.prev_log_id, None));
    }

    #[test]
    fn anything_else_is_refused_and_nothing_else_happens(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        flip in (any::<prop::sample::Index>(), 1..=255u8),
        cut in any::<prop::sample::Index>(),
    ) {
        let _ = request(bytes.clone().into());
        let _ = codec::decode::<Answer>(&bytes);
        let mut damaged = bytes_of(|frames| put_request(frames, &append(3, 20)).unwrap())[4..].to_vec();
        let at = flip.0.index(damaged.len());
        damaged[at] ^= flip.1;
        let _ = request(damaged.clone().into());
        damaged.truncate(cut.index(damaged.len()));
        let _ = request(damaged.into());
    }
}
