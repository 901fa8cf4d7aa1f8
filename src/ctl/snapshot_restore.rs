//! `roostctl snapshot restore`: the new directory is made under another name and swapped in when it is complete, so an
//! attempt that fails changes nothing, and the directory that was there is kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::Failure;
use super::member::{MemberArg, check_distinct};
use super::output::{Report, facts};
use super::snapshot::RestoreArgs;
use super::snapshot_file::sync_parent;
use crate::restore::{self, Restore};

pub fn run(context: &Context, args: &RestoreArgs) -> Result<(), Failure> {
    check(args)?;
    let dir = &args.data_dir;
    let occupied = is_occupied(dir).map_err(|error| Failure::io(dir.display(), &error))?;
    if occupied {
        if restore::in_use(dir).map_err(|error| Failure::io(dir.display(), &error))? {
            return Err(Failure::Failed(format!("{} is in use by a running node; stop it first", dir.display())));
        }
        confirm(context.yes, &format!("{} holds data. Put the restored node in its place?", dir.display()))?;
    }
    let fresh = beside(dir, "restoring")?;
    if fresh.exists() {
        let fresh = fresh.display();
        return Err(Failure::Failed(format!("{fresh} is left from an interrupted restore; remove it and repeat")));
    }
    let made = make(args, &fresh).inspect_err(|_| {
        // A half-made directory is of no use, and its name would block the next attempt.
        let _ = fs::remove_dir_all(&fresh);
    })?;
    let replaced = swap(dir, &fresh, occupied)?;
    context.output.print(&Restored {
        data_dir: dir.display().to_string(),
        node_id: args.node_id,
        cluster_id: made.cluster_id.to_string(),
        index: made.index,
        replaced: replaced.map(|path| path.display().to_string()),
    })
}

fn check(args: &RestoreArgs) -> Result<(), Failure> {
    check_distinct(&args.members)?;
    match args.members.iter().any(|member| member.id == args.node_id) {
        true => Ok(()),
        false => Err(Failure::Usage(format!("--node-id {} is not one of the members", args.node_id))),
    }
}

fn make(args: &RestoreArgs, fresh: &Path) -> Result<restore::Restored, Failure> {
    let request = Restore {
        file: args.file.clone(),
        data_dir: fresh.to_owned(),
        node_id: args.node_id,
        members: args.members.iter().map(MemberArg::to_entry).collect(),
    };
    restore::restore(&request).map_err(|error| Failure::Failed(format!("{}: {error}", args.file.display())))
}

fn is_occupied(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `dir` with a suffix to its name, in the same directory and so on the same file system.
fn beside(dir: &Path, suffix: &str) -> Result<PathBuf, Failure> {
    let name = dir.file_name().ok_or_else(|| Failure::Usage(format!("{} names no directory", dir.display())))?;
    let mut name = name.to_owned();
    name.push(format!(".{suffix}"));
    Ok(dir.with_file_name(name))
}

/// Puts `fresh` in the place of `dir` and returns where the old content went.
fn swap(dir: &Path, fresh: &Path, occupied: bool) -> Result<Option<PathBuf>, Failure> {
    let failed = |error: io::Error| {
        let (dir, fresh) = (dir.display(), fresh.display());
        Failure::Failed(format!("cannot move {fresh} to {dir}: {error}. The restored node lies complete in {fresh}"))
    };
    let aside = match occupied {
        false => None,
        true => {
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let aside = beside(dir, &format!("replaced-{now_s}"))?;
            fs::rename(dir, &aside).map_err(failed)?;
            Some(aside)
        }
    };
    // rename() replaces an empty directory.
    fs::rename(fresh, dir).and_then(|()| sync_parent(dir)).map_err(failed)?;
    Ok(aside)
}

#[derive(Debug, Serialize)]
struct Restored {
    data_dir: String,
    node_id: u64,
    cluster_id: String,
    index: u64,
    replaced: Option<String>,
}

impl Report for Restored {
    fn table(&self) -> String {
        let mut pairs = vec![
            ("data_dir", self.data_dir.clone()),
            ("node", self.node_id.to_string()),
            ("cluster", self.cluster_id.clone()),
            ("index", self.index.to_string()),
        ];
        pairs.extend(self.replaced.clone().map(|old| ("old data", old)));
        facts(&pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_directory_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let (dir, fresh) = (home.path().join("node"), home.path().join("node.restoring"));
        for (path, content) in [(&dir, "old"), (&fresh, "new")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("data"), content).unwrap();
        }
        assert!(is_occupied(&dir).unwrap());
        let aside = swap(&dir, &fresh, true).unwrap().unwrap();
        assert_eq!(fs::read_to_string(dir.join("data")).unwrap(), "new");
        assert_eq!(fs::read_to_string(aside.join("data")).unwrap(), "old");
        assert!(!fresh.exists());
    }

    #[test]
    fn an_empty_or_missing_directory_needs_no_question() {
        let home = tempfile::tempdir().unwrap();
        let (dir, fresh) = (home.path().join("node"), home.path().join("fresh"));
        assert!(!is_occupied(&dir).unwrap());
        for prepare in [true, false] {
            if prepare {
                fs::create_dir(&dir).unwrap();
            }
            fs::create_dir(&fresh).unwrap();
            assert!(!is_occupied(&dir).unwrap());
            assert_eq!(swap(&dir, &fresh, false).unwrap(), None);
            assert!(dir.exists() && !fresh.exists());
            fs::remove_dir(&dir).unwrap();
        }
    }

    #[test]
    fn names_beside_stay_in_the_same_directory() {
        assert_eq!(beside(Path::new("/a/b"), "x").unwrap(), Path::new("/a/b.x"));
        assert_eq!(beside(Path::new("b/"), "x").unwrap(), Path::new("b.x"));
        assert!(beside(Path::new("/"), "x").is_err());
    }
}
