//! Compiles `proto/` into Rust without protoc: messages, clients, servers, and the descriptors for reflection.
//! Every file under proto/milvus, proto/etcd and proto/roost is taken, except peer.proto, which belongs to the crate
//! `raft/`.
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for folder in ["proto/milvus", "proto/etcd", "proto/roost"] {
        for file in proto_files(folder)? {
            compiler.open_file(file)?;
        }
    }
    // Encoded by protox itself, because decoding it here would drop the privilege annotations.
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .build_transport(false) // its `connect` would clash with the call Connect: use `new(channel)`
        .bytes(".roost.relay.v1") // commands are handed on as they came, without a copy
        .btree_map(".") // a message's bytes must depend on its value alone: rows and state hashes are made of them
        .include_file("packages.rs")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The .proto files of one directory, sorted so that a build does not depend on the file system's order.
fn proto_files(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_proto = path.extension().is_some_and(|extension| extension == "proto");
        if is_proto && !path.ends_with("peer.proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
