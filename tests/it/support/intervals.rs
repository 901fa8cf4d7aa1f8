//! What was handed out, when it was asked for and when it came: enough to say whether it was unique and in order.

use std::sync::{Arc, Mutex};
use std::time::Instant;

/// One answered request for `count` numbers in a row.
#[derive(Clone, Debug)]
pub struct Given {
    pub asked: Instant,
    pub came: Instant,
    pub first: u64,
    pub count: u32,
    /// Who asked, for messages.
    pub by: String,
}

impl Given {
    fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// Everything that was given, in no order.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Vec<Given>>>);

impl History {
    pub fn add(&self, given: Given) {
        self.0.lock().unwrap().push(given);
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// How many answers came in since `after` to callers whose name starts so.
    pub fn since(&self, after: Instant, by: &str) -> usize {
        let given = self.0.lock().unwrap();
        given.iter().rev().filter(|given| given.asked > after && given.by.starts_with(by)).count()
    }

    /// No number was given twice.
    pub fn assert_unique(&self) {
        let mut given = self.0.lock().unwrap().clone();
        given.sort_by_key(|given| given.first);
        for pair in given.windows(2) {
            assert!(pair[0].end() <= pair[1].first, "given twice:\n{:?}\n{:?}", pair[0], pair[1]);
        }
    }

    /// Whoever asked after another one had his answer got greater numbers.
    pub fn assert_ordered(&self) {
        let mut by_asked = self.0.lock().unwrap().clone();
        let mut by_came = by_asked.clone();
        by_asked.sort_by_key(|given| given.asked);
        by_came.sort_by_key(|given| given.came);
        let mut came = by_came.iter().peekable();
        let mut greatest: Option<&Given> = None;
        for given in &by_asked {
            while let Some(earlier) = came.next_if(|earlier| earlier.came < given.asked) {
                if greatest.is_none_or(|greatest| greatest.end() < earlier.end()) {
                    greatest = Some(earlier);
                }
            }
            if let Some(earlier) = greatest {
                assert!(earlier.end() <= given.first, "went back:\n{earlier:?}\n{given:?}");
            }
        }
    }
}
