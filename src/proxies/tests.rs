//! What is gathered for a proxy. How proxies are told is tested with whole servers, `src/server/tests/proxies.rs`.

use super::stale::{Pending, Stale};
use crate::limits;

#[test]
fn the_same_thing_is_told_once_and_too_many_become_everything() {
    let mut pending = Pending::default();
    for _ in 0..3 {
        pending.add(Stale::Policy);
        pending.add(Stale::User("alice".into()));
    }
    assert_eq!(pending.len(), 2);
    for number in 0..limits::PROXY_STALE_MAX - 2 {
        pending.add(Stale::User(number.to_string()));
    }
    assert_eq!(pending.len(), limits::PROXY_STALE_MAX);
    pending.add(Stale::User("one more".into()));
    pending.add(Stale::User("and another".into()));
    assert_eq!(pending.take().into_iter().collect::<Vec<_>>(), [Stale::Everything]);
    assert_eq!(pending.len(), 0);
}
