//! What the kernel says of this process and its machine.

use std::fs;
use std::thread::available_parallelism;

use parking_lot::Mutex;

/// See the module. Remembers how busy the machine was when it was last asked.
#[derive(Debug, Default)]
pub struct Machine {
    last: Mutex<CpuTime>,
}

/// Since the machine started, in ticks of all its cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTime {
    idle: u64,
    all: u64,
}

impl Machine {
    pub fn cores(&self) -> usize {
        available_parallelism().map_or(1, usize::from)
    }

    /// How busy all cores were since the last question, the first time since the machine started; 0 to 100.
    pub fn cpu_percent(&self) -> f64 {
        let now = fs::read_to_string("/proc/stat").ok().and_then(|text| cpu_time(&text)).unwrap_or_default();
        let before = std::mem::replace(&mut *self.last.lock(), now);
        busy_percent(before, now)
    }

    /// Of the machine; 0 where that is unknown.
    pub fn memory_bytes(&self) -> u64 {
        kib_in("/proc/meminfo", "MemTotal:").unwrap_or(0)
    }

    /// Of this process; 0 where that is unknown.
    pub fn used_bytes(&self) -> u64 {
        resident_bytes().unwrap_or(0)
    }
}

/// Memory of this process that is not swapped out.
pub fn resident_bytes() -> Option<u64> {
    kib_in("/proc/self/status", "VmRSS:")
}

/// Linux gives sizes in kB, whatever the size of a page.
fn kib_in(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The first line: user, nice, system, idle, waiting for I/O, and more.
fn cpu_time(stat: &str) -> Option<CpuTime> {
    let ticks: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)?.saturating_add(ticks.get(4).copied().unwrap_or(0));
    Some(CpuTime { idle, all: ticks.iter().fold(0, |sum, ticks| sum.saturating_add(*ticks)) })
}

fn busy_percent(before: CpuTime, now: CpuTime) -> f64 {
    let all = now.all.saturating_sub(before.all);
    let idle = now.idle.saturating_sub(before.idle).min(all);
    if all == 0 { 0.0 } else { (all - idle) as f64 * 100.0 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read() {
        let machine = Machine::default();
        assert!(machine.cores() >= 1);
        assert!(machine.memory_bytes() > machine.used_bytes() && machine.used_bytes() > 1 << 20);
        assert!((0.0..=100.0).contains(&machine.cpu_percent()));
    }

    #[test]
    fn busy_is_what_was_not_idle_since_then() {
        let first = cpu_time("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 2 3").unwrap();
        assert_eq!(first, CpuTime { idle: 80, all: 100 });
        assert_eq!(busy_percent(CpuTime::default(), first), 20.0);
        assert_eq!(busy_percent(first, CpuTime { idle: 85, all: 120 }), 75.0);
        assert_eq!(busy_percent(first, first), 0.0);
        assert_eq!(cpu_time("cpu0 1 2 3 4"), None);
        assert_eq!(cpu_time(""), None);
    }
}
