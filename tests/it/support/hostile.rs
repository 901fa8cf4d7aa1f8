//! Bytes that no honest client sends: noise, half requests, frames that lie about their length, and silence.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame, which every HTTP/2 connection opens with.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The length of a frame between peers.
const FRAME: &[u8] = &[0, 0, 1, 0];
/// The server may answer, close, or wait for the rest; none of it takes long.
const ANSWER: Duration = Duration::from_millis(20);

/// Sends each kind of bytes over a connection of its own. Only that the server survives it is left to check.
pub async fn attack(address: &str) {
    // A fixed seed: what broke a server once breaks it again.
    let mut random = StdRng::seed_from_u64(0x600d_5eed);
    let mut attacks: Vec<Vec<u8>> = Vec::new();
    for length in [0, 1, 7, 100, 5000, 200_000] {
        let mut noise = vec![0; length];
        random.fill_bytes(&mut noise);
        attacks.push(noise.clone());
        attacks.push([PREFACE, &noise].concat());
        attacks.push([PREFACE, SETTINGS, &noise].concat());
        attacks.push([FRAME, &noise].concat());
    }
    attacks.push(FRAME.to_vec());
    attacks.push(PREFACE[..10].to_vec());
    attacks.push(PREFACE.repeat(3));
    // A frame of 16 MiB, DATA on stream 0, HEADERS that never end, a WINDOW_UPDATE of 0, a PRIORITY on itself.
    attacks.push([PREFACE, SETTINGS, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat());
    attacks.push([PREFACE, SETTINGS, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 9]].concat());
    attacks.push([PREFACE, SETTINGS, &[0, 0, 4, 1, 0, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41]].concat());
    attacks.push([PREFACE, SETTINGS, &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
    attacks.push([PREFACE, SETTINGS, &[0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0]].concat());
    attacks.push(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    attacks.push(
        b"POST /milvus.proto.milvus.MilvusService/CreateCollection HTTP/1.1\r\ncontent-length: 9999999999\r\n".to_vec(),
    );
    attacks.push([b"GET /".as_slice(), &[b'a'; 100_000], b" HTTP/1.1\r\n\r\n"].concat());
    // The beginning of a TLS greeting.
    attacks.push([&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x5a; 300]].concat());
    futures::future::join_all(attacks.iter().map(|bytes| send(address, bytes))).await;
}

async fn send(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    // It may hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = [0; 4096];
    while let Ok(Ok(1..)) = tokio::time::timeout(ANSWER, stream.read(&mut answer)).await {}
}
