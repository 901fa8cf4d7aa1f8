//! The library that is preloaded into the nodes: compiled here, once a run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Compiles it into `directory`.
pub fn compile(directory: &Path) -> Result<PathBuf> {
    let library = directory.join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/shim.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    let done = compiler.status().context("chaos needs a C compiler named cc")?;
    if done.success() { Ok(library) } else { bail!("cc does not compile {source}") }
}
