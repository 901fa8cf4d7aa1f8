//! Compiles the peers' protocol without needing protoc.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../proto/roost");
    let file = root.join("peer.proto");
    println!("cargo::rerun-if-changed={}", file.display());
    let files = protox::compile([&file], [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
