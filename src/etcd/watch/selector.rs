//! Which keys a watcher is about, in etcd's forms.

use bytes::Bytes;

/// The one key or the range that a watcher selects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    Key(Bytes),
    Range { start: Bytes, end: End },
}

/// Where a range ends, the end excluded. `Never` is greater than every key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    At(Bytes),
    Never,
}

impl End {
    pub fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::At(end) => key < end,
            End::Never => true,
        }
    }
}

impl Selector {
    /// An empty `key` is the least one; an empty `range_end` is the one key; `\0` is no end. `None`: an empty range.
    pub fn new(key: Vec<u8>, range_end: Vec<u8>) -> Option<Self> {
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { Bytes::from(key) };
        if range_end.is_empty() {
            return Some(Selector::Key(key));
        }
        let end = if range_end == [0] { End::Never } else { End::At(range_end.into()) };
        end.is_after(&key).then_some(Selector::Range { start: key, end })
    }

    pub fn everything() -> Self {
        Selector::Range { start: Bytes::from_static(b"\0"), end: End::Never }
    }

    /// The key in etcd's form.
    pub fn key(&self) -> &[u8] {
        match self {
            Selector::Key(key) | Selector::Range { start: key, .. } => key,
        }
    }

    /// The range's end in etcd's form.
    pub fn range_end(&self) -> &[u8] {
        match self {
            Selector::Key(_) => b"",
            Selector::Range { end: End::At(end), .. } => end,
            Selector::Range { end: End::Never, .. } => b"\0",
        }
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.key().len() + self.range_end().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_forms() {
        let new = |key: &[u8], end: &[u8]| Selector::new(key.to_vec(), end.to_vec());
        let range = |start: &'static [u8], end| Some(Selector::Range { start: start.into(), end });
        assert_eq!(new(b"a", b""), Some(Selector::Key("a".into())));
        assert_eq!(new(b"", b""), Some(Selector::Key(Bytes::from_static(b"\0"))));
        assert_eq!(new(b"a", b"b"), range(b"a", End::At("b".into())));
        assert_eq!(new(b"a", b"\0"), range(b"a", End::Never));
        assert_eq!(new(b"", b"\0"), Some(Selector::everything()));
        assert_eq!(new(b"", b"a"), range(b"\0", End::At("a".into())));
        assert_eq!((new(b"b", b"a"), new(b"b", b"b")), (None, None));
        for selector in [new(b"a", b""), new(b"a", b"b"), new(b"a", b"\0")].into_iter().flatten() {
            let again = Selector::new(selector.key().to_vec(), selector.range_end().to_vec());
            assert_eq!(again, Some(selector));
        }
    }
}
