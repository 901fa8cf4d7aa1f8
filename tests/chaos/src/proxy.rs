//! The network between the nodes: a TCP proxy for each directed link, in this process.
//!
//! A connection from A to B carries bytes both ways, so what is done to the bytes from A to B is done to the first half
//! of A's connections and to the second half of B's. Bytes that a fault holds back are delivered once it is over, as
//! TCP would deliver them; the nodes' own timeouts decide whether anybody still waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes read at once, and chunks on their way in one direction of one connection.
const CHUNK_BYTES: usize = 16 << 10;
const CHUNKS: usize = 256;
/// How long a lost segment is missing: between a first and a late retransmission of TCP.
const RETRANSMISSION_MS: (u64, u64) = (200, 1200);

/// What happens to the bytes from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Nothing passes.
    pub cut: bool,
    /// New connections are refused, not left to hang.
    pub refuse: bool,
    /// Each chunk takes so much longer, evenly distributed.
    pub delay: (Duration, Duration),
    /// Chunks out of 1,000 that are lost and sent again.
    pub lost_in_1000: u32,
    pub bytes_per_second: Option<u32>,
}

/// One directed link: its rule, and how often its connections were reset.
struct Link {
    rule: watch::Sender<Rule>,
    resets: watch::Sender<u64>,
    /// Where the calling node finds the called one.
    port: u16,
}

/// All links, by the places of the calling and the called node.
pub struct Links {
    links: Vec<Vec<Link>>,
}

impl Links {
    /// Listens for every link between `peers`, the addresses at which the nodes themselves listen.
    pub async fn start(peers: &[SocketAddr]) -> Result<Self> {
        let mut links = Vec::new();
        let mut listeners = Vec::new();
        for from in 0..peers.len() {
            let mut row = Vec::new();
            for to in 0..peers.len() {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
                let port = listener.local_addr()?.port();
                listeners.push((from, to, listener));
                row.push(Link { rule: watch::Sender::default(), resets: watch::Sender::default(), port });
            }
            links.push(row);
        }
        let links = Links { links };
        for (from, to, listener) in listeners {
            let (there, back) = (links.link(from, to), links.link(to, from));
            let line = Arc::new(Line {
                target: peers[to],
                there: there.rule.subscribe(),
                back: back.rule.subscribe(),
                resets: there.resets.subscribe(),
            });
            tokio::spawn(accept(listener, line));
        }
        Ok(links)
    }

    fn link(&self, from: usize, to: usize) -> &Link {
        &self.links[from][to]
    }

    pub fn port(&self, from: usize, to: usize) -> u16 {
        self.link(from, to).port
    }

    /// Sets what happens to the bytes from one place to another.
    pub fn set(&self, from: usize, to: usize, rule: Rule) {
        self.link(from, to).rule.send_replace(rule);
    }

    pub fn set_both(&self, one: usize, other: usize, rule: Rule) {
        self.set(one, other, rule);
        self.set(other, one, rule);
    }

    /// Breaks the connections that `from` opened to `to`; new ones are accepted.
    pub fn reset(&self, from: usize, to: usize) {
        self.link(from, to).resets.send_modify(|count| *count += 1);
    }

    /// Everything passes again.
    pub fn heal(&self) {
        for link in self.links.iter().flatten() {
            link.rule.send_replace(Rule::default());
        }
    }
}

/// What one connection needs to know of its link.
struct Line {
    target: SocketAddr,
    there: watch::Receiver<Rule>,
    back: watch::Receiver<Rule>,
    resets: watch::Receiver<u64>,
}

async fn accept(listener: TcpListener, line: Arc<Line>) {
    loop {
        let Ok((caller, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let refused = line.there.borrow().refuse || line.back.borrow().refuse;
        if !refused {
            tokio::spawn(carry(caller, line.clone()));
        }
    }
}

/// Carries one connection until either side ends it or it is reset.
async fn carry(caller: TcpStream, line: Arc<Line>) {
    let mut resets = line.resets.clone();
    resets.mark_unchanged();
    let Ok(called) = TcpStream::connect(line.target).await else { return };
    // A latency matter only.
    let _ = (caller.set_nodelay(true), called.set_nodelay(true));
    let ((caller_out, caller_in), (called_out, called_in)) = (caller.into_split(), called.into_split());
    tokio::select! {
        () = pump(caller_out, called_in, line.there.clone()) => {}
        () = pump(called_out, caller_in, line.back.clone()) => {}
        _ = resets.changed() => {}
    }
}

/// Moves bytes one way, as the rule says.
async fn pump(from: OwnedReadHalf, to: OwnedWriteHalf, rule: watch::Receiver<Rule>) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reading = read(from, sender, rule.clone());
    let writing = write(to, receiver, rule);
    // Either end ends both: nobody leaves a connection half open.
    tokio::select! {
        _ = reading => {}
        _ = writing => {}
    }
}

async fn read(mut from: OwnedReadHalf, chunks: mpsc::Sender<(Instant, Vec<u8>)>, rule: watch::Receiver<Rule>) {
    let mut due = Instant::now();
    loop {
        let mut bytes = vec![0; CHUNK_BYTES];
        match from.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.truncate(count),
        }
        let now = *rule.borrow();
        let (least, most) = now.delay;
        let mut wait = least + most.saturating_sub(least).mul_f64(rand::random());
        if rand::random_range(0..1000) < now.lost_in_1000 {
            wait += Duration::from_millis(rand::random_range(RETRANSMISSION_MS.0..RETRANSMISSION_MS.1));
        }
        // What comes later waits for what is missing.
        due = due.max(Instant::now() + wait);
        if chunks.send((due, bytes)).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut rule: watch::Receiver<Rule>,
) -> io::Result<()> {
    while let Some((due, bytes)) = chunks.recv().await {
        sleep_until(due).await;
        // The sender lives as long as the run.
        let open = rule.wait_for(|rule| !rule.cut).await.map(|rule| *rule);
        to.write_all(&bytes).await?;
        if let Ok(Rule { bytes_per_second: Some(rate), .. }) = open {
            sleep(Duration::from_secs_f64(bytes.len() as f64 / f64::from(rate.max(1)))).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every byte with the next one.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        let _ = stream.write_u8(byte + 1).await;
                    }
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        stream.write_u8(byte).await.unwrap();
        tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await.ok()?.ok()
    }

    #[tokio::test]
    async fn a_cut_holds_one_direction_back_and_healing_delivers_it() {
        let links = Links::start(&[echo().await, echo().await]).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", links.port(0, 1))).await.unwrap();
        assert_eq!(ask(&mut stream, 1).await, Some(2));
        let cut = Rule { cut: true, ..Rule::default() };
        // The question arrives, the answer does not.
        links.set(1, 0, cut);
        assert_eq!(ask(&mut stream, 5).await, None);
        links.set(1, 0, Rule::default());
        assert_eq!(stream.read_u8().await.unwrap(), 6);
        links.set(0, 1, cut);
        assert_eq!(ask(&mut stream, 7).await, None);
        links.heal();
        assert_eq!(stream.read_u8().await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_reset_breaks_old_connections_and_a_refusal_new_ones() {
        let links = Links::start(&[echo().await, echo().await]).await.unwrap();
        let connect = || TcpStream::connect(("127.0.0.1", links.port(0, 1)));
        let mut stream = connect().await.unwrap();
        assert_eq!(ask(&mut stream, 1).await, Some(2));
        links.reset(0, 1);
        assert!(stream.read_u8().await.is_err(), "broken");
        assert_eq!(ask(&mut connect().await.unwrap(), 3).await, Some(4));
        links.set(0, 1, Rule { refuse: true, ..Rule::default() });
        assert!(connect().await.unwrap().read_u8().await.is_err(), "refused");
    }

    #[tokio::test]
    async fn a_slow_link_takes_its_time() {
        let links = Links::start(&[echo().await, echo().await]).await.unwrap();
        let delay = Duration::from_millis(80);
        links.set_both(0, 1, Rule { delay: (delay, delay), ..Rule::default() });
        let mut stream = TcpStream::connect(("127.0.0.1", links.port(0, 1))).await.unwrap();
        let began = Instant::now();
        assert_eq!(ask(&mut stream, 1).await, Some(2));
        assert!(began.elapsed() >= delay * 2);
    }
}
