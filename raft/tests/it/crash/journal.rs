//! What the journal of `sync_shim.c` says of a disk, and a power loss: every file ends where it was last synced.
//! Shared with scripts/chaos.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The mark's two slots.
const MARK_BYTES: usize = 56;
const SLOT_BYTES: usize = 28;
const MARK: &str = "synced.mark";

/// A journal, understood.
pub struct Journal {
    /// Each file's size at its last sync.
    sizes: HashMap<PathBuf, u64>,
    /// The mark at its last sync and after every write since. The kernel may write pages back at any time, so the disk
    /// holds any of these.
    marks: Vec<[u8; MARK_BYTES]>,
}

impl Journal {
    /// Reads what there is; no file is an empty journal. A last line that a kill cut short does not count.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut journal = Journal { sizes: HashMap::new(), marks: vec![[0; MARK_BYTES]] };
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(journal),
            read => read?,
        };
        let text = String::from_utf8_lossy(&bytes);
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let strange = || io::Error::other(format!("a strange line in the journal: {line:?}"));
            match fields.as_slice() {
                ["S", size, path] => {
                    let latest = journal.latest_mark();
                    if path.ends_with(MARK) {
                        journal.marks = vec![latest];
                    }
                    journal.sizes.insert(PathBuf::from(path), size.parse().map_err(|_| strange())?);
                }
                ["R", from, to] => {
                    let size = journal.sizes.remove(Path::new(from)).unwrap_or(0);
                    journal.sizes.insert(PathBuf::from(to), size);
                }
                ["T" | "U", path] => {
                    journal.sizes.remove(Path::new(path));
                }
                ["W", offset, hex] => {
                    let mut mark = journal.latest_mark();
                    let offset: usize = offset.parse().map_err(|_| strange())?;
                    for (slot, digits) in mark.iter_mut().skip(offset).zip(hex.as_bytes().chunks(2)) {
                        let digits = std::str::from_utf8(digits).map_err(|_| strange())?;
                        *slot = u8::from_str_radix(digits, 16).map_err(|_| strange())?;
                    }
                    journal.marks.push(mark);
                }
                _ => return Err(strange()),
            }
        }
        Ok(journal)
    }

    fn latest_mark(&self) -> [u8; MARK_BYTES] {
        self.marks.last().copied().unwrap_or([0; MARK_BYTES])
    }

    /// The version of the mark that demands the longest log.
    fn severest_mark(&self) -> [u8; MARK_BYTES] {
        let number = |slot: &[u8], at: usize| {
            slot.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
        };
        let demanded = |mark: &&[u8; MARK_BYTES]| {
            mark.chunks(SLOT_BYTES).map(|slot| (number(slot, 0), number(slot, 8))).max().map_or(0, |(_, index)| index)
        };
        self.marks.iter().max_by_key(demanded).copied().unwrap_or([0; MARK_BYTES])
    }

    /// Takes from the files below `data` what was never synced. The journal knows them below `known_as`. `cut` says
    /// how much of a file is left, given its synced size and its whole one; nothing leaves it as it is.
    pub fn lose_power(
        &self,
        data: &Path,
        known_as: &Path,
        mut cut: impl FnMut(&Path, u64, u64) -> Option<u64>,
    ) -> io::Result<()> {
        for file in files(data)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // RocksDB's own text log and lock hold no data; IDENTITY is made anew.
            if name == "LOCK" || name.starts_with("LOG") || name == "IDENTITY" {
                continue;
            }
            let handle = fs::OpenOptions::new().write(true).open(&file)?;
            let whole = handle.metadata()?.len();
            let original = known_as.join(file.strip_prefix(data).unwrap_or(&file));
            let synced = self.sizes.get(&original).copied().unwrap_or(0).min(whole);
            match cut(&file, synced, whole) {
                Some(_) if name == MARK => fs::write(&file, self.severest_mark())?,
                Some(left) if left < whole => handle.set_len(left)?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[allow(dead_code, reason = "only scripts/chaos starts nodes again on the same disk")]
impl Journal {
    /// Of a disk that holds what it holds, as after a power loss.
    pub fn of_disk(data: &Path) -> io::Result<Self> {
        let mut journal = Journal { sizes: HashMap::new(), marks: vec![[0; MARK_BYTES]] };
        for file in files(data)? {
            if file.ends_with(MARK) {
                let mut mark = [0; MARK_BYTES];
                mark.iter_mut().zip(fs::read(&file)?).for_each(|(slot, byte)| *slot = byte);
                journal.marks = vec![mark];
            }
            journal.sizes.insert(file.clone(), fs::metadata(&file)?.len());
        }
        Ok(journal)
    }

    /// Writes a short journal that says the same, for the next process on this disk.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        let hex: String = self.severest_mark().iter().map(|byte| format!("{byte:02x}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "W\t0\t{hex}");
        for (file, size) in &self.sizes {
            let _ = writeln!(text, "S\t{size}\t{}", file.display());
        }
        fs::write(path, text)
    }
}

/// All files below a directory.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
