//! Libraries that are preloaded into the programs under test: compiled here, once a run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Compiles `source` into `directory`.
pub fn compile(source: &Path, directory: &Path) -> Result<PathBuf> {
    let library = directory.join("shim.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    let done = compiler.status().context("a C compiler named cc is needed")?;
    if done.success() { Ok(library) } else { bail!("cc does not compile {}", source.display()) }
}
