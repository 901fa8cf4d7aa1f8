//! A server that answers at once and keeps nothing, in this process: whatever a client reaches with it is the bound
//! that the machine and the client's own work set.

use anyhow::{Context, Result, ensure};
use roost::pb::etcd::api::kv_server::{Kv, KvServer};
use roost::pb::etcd::api::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

const THREADS: usize = 2;

/// Listens on loopback, on threads of its own, for as long as this process lives. Gives the addresses.
pub fn serve(listeners: usize) -> Result<Vec<String>> {
    ensure!(listeners > 0, "a server listens somewhere");
    let sockets = (0..listeners).map(|_| bound()).collect::<Result<Vec<_>>>()?;
    let addresses = sockets.iter().map(|socket| Ok(socket.local_addr()?.to_string())).collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    for socket in sockets {
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(socket)?
        };
        runtime.spawn(async move {
            let (_reporter, health) = tonic_health::server::health_reporter();
            let server = Server::builder().tcp_nodelay(true).add_service(health).add_service(KvServer::new(Bare));
            if let Err(error) = server.serve_with_incoming(TcpListenerStream::new(listener)).await {
                eprintln!("the bare server ended: {error}");
            }
        });
    }
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(addresses)
}

fn bound() -> Result<std::net::TcpListener> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").context("a port for the bare server")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// etcd's key-value service without keys and values.
struct Bare;

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: 1, member_id: 1, revision: 1, raft_term: 1 })
}

#[tonic::async_trait]
impl Kv for Bare {
    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(RangeResponse { header: header(), ..Default::default() }))
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(PutResponse { header: header(), ..Default::default() }))
    }

    async fn delete_range(&self, _: Request<DeleteRangeRequest>) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(DeleteRangeResponse { header: header(), ..Default::default() }))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(TxnResponse { header: header(), succeeded: true, ..Default::default() }))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(CompactionResponse { header: header() }))
    }
}
