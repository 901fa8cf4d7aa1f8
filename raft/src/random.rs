//! Randomness: the operating system's, or that of the seed which a simulation gave to its thread.

use std::cell::RefCell;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// From here on, whatever this crate draws on this thread follows from `seed`.
pub fn seed(seed: u64) {
    SEEDED.set(Some(SmallRng::seed_from_u64(seed)));
}

/// A random number.
pub fn number() -> u64 {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(rng) => rng.next_u64(),
        None => rand::random(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_holds_for_its_thread_only() {
        let draw = |seeded: u64| {
            let thread = std::thread::spawn(move || {
                seed(seeded);
                [number(), number()]
            });
            thread.join().unwrap()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        seed(1);
        let other = std::thread::spawn(|| [number(), number()]).join().unwrap();
        assert_ne!(other, [number(), number()]);
    }
}
