//! Whether what clients saw can be explained: the checkers that scripts/chaos uses, over one run's record.

use roost_chaos::check::{key, name, order};
use roost_chaos::history::{Checker, Violation};

use crate::load::Record;

/// What is wrong, and how many histories were too long to decide.
pub fn history(record: &Record) -> (Vec<Violation>, u64) {
    let (mut found, mut undecided) = (Vec::new(), 0);
    let keys = record.keys.iter().map(|(key, calls)| key::linearizable(key, calls));
    let names = record.names.iter().map(|(name, calls)| name::linearizable(name, calls));
    for (violations, decided) in keys.chain(names) {
        found.extend(violations);
        undecided += u64::from(!decided);
    }
    found.extend(order::unique(Checker::Timestamps, &record.timestamps));
    found.extend(order::ascending(Checker::Timestamps, &record.timestamps));
    found.extend(order::unique(Checker::Ids, &record.ids));
    found.extend(order::ascending(Checker::Ids, &record.ids));
    (found, undecided)
}
