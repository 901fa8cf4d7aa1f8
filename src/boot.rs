//! The number of this start of the node: grows from start to start, whatever the clock does, because request ids of an
//! earlier start are expired by it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const FILE: &str = "boot";

/// Takes the next number and stores it durably in `data_dir`. Starts from the clock, so that a lost file does no harm.
pub fn next(data_dir: &Path) -> io::Result<u64> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join(FILE);
    let last: u64 = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let boot = u64::try_from(now_ms).unwrap_or(u64::MAX).max(last.saturating_add(1));
    let written = data_dir.join("boot.new");
    let mut file = File::create(&written)?;
    file.write_all(boot.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&written, &path)?;
    File::open(data_dir)?.sync_all()?;
    Ok(boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_even_when_the_clock_went_back_and_survives_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = next(dir.path()).unwrap();
        assert!(next(dir.path()).unwrap() > first);
        fs::write(dir.path().join(FILE), (u64::MAX - 5).to_string()).unwrap();
        assert_eq!(next(dir.path()).unwrap(), u64::MAX - 4);
        fs::write(dir.path().join(FILE), "garbage").unwrap();
        assert!(next(dir.path()).unwrap() >= first);
    }
}
