//! A typed table: a tag byte, a key that sorts as its parts do, and a prost row.
//! Everything that reads or writes the state goes through here, so a row that does not decode is found in one place.

use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, ControlFlow};

use prost::Message;
use roost_raft::kv::{KeyRange, Read, Space, Txn, prefix_end};

/// A part of a key. Written so that bytes sort as values do.
pub trait Key: Sized {
    fn write(&self, out: &mut Vec<u8>);
    /// Takes this part off the front of `bytes`.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

/// A key part that says where it ends, so that others may follow.
pub trait FixedKey: Key {}

macro_rules! integer_keys {
    ($($integer:ty),*) => {$(
        impl Key for $integer {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (head, tail) = bytes.split_first_chunk()?;
                *bytes = tail;
                Some(Self::from_be_bytes(*head))
            }
        }
        impl FixedKey for $integer {}
    )*};
}
integer_keys!(u8, u16, u64);

/// Ids are positive; flipping the sign bit keeps the order of any.
impl Key for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ (1 << 63)).write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u64::read(bytes).map(|raw| (raw ^ (1 << 63)).cast_signed())
    }
}
impl FixedKey for i64 {}

/// A name takes the rest of the key.
impl Key for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        String::from_utf8(std::mem::take(bytes).to_vec()).ok()
    }
}

/// Bytes of a user's choice take the rest of the key.
impl Key for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(std::mem::take(bytes).to_vec())
    }
}

/// A text of at most 255 bytes that is not the last part of its key: a byte of length, then the text. Such parts sort
/// by length first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Whoever stores a name has checked its length; a longer one is cut.
    pub fn write_text(text: &str, out: &mut Vec<u8>) {
        let bytes = text.as_bytes();
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        out.push(length);
        out.extend(bytes.iter().take(length.into()));
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Name(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl Key for Name {
    fn write(&self, out: &mut Vec<u8>) {
        Self::write_text(&self.0, out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (text, rest) = bytes
            .split_at_checked(1)
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length.first()?)))?;
        let name = String::from_utf8(text.to_vec()).ok()?;
        *bytes = rest;
        Some(Name(name))
    }
}
impl FixedKey for Name {}

impl<A: FixedKey, B: FixedKey> FixedKey for (A, B) {}

impl Key for () {
    fn write(&self, _: &mut Vec<u8>) {}
    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl<A: FixedKey, B: Key> Key for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

impl<A: FixedKey, B: FixedKey, C: Key> Key for (A, B, C) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?, C::read(bytes)?))
    }
}

/// Room for most keys: a tag, three numbers and a short name.
const KEY_BYTES: usize = 48;

/// One table of [`Space::STATE`].
pub struct Table<K, V> {
    tag: u8,
    name: &'static str,
    row: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Message + Default> Table<K, V> {
    pub const fn new(tag: u8, name: &'static str) -> Self {
        Table { tag, name, row: PhantomData }
    }

    /// The encoded key.
    pub fn key(&self, key: &K) -> Vec<u8> {
        self.prefix(key)
    }

    fn prefix<P: Key>(&self, prefix: &P) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(KEY_BYTES);
        bytes.push(self.tag);
        prefix.write(&mut bytes);
        bytes
    }

    pub fn get(&self, read: &dyn Read, key: &K) -> io::Result<Option<V>> {
        let key = self.key(key);
        let row = read.get(Space::STATE, &key)?;
        row.map(|row| self.decode(&key, &row)).transpose()
    }

    /// The row, or its default if there is none: for counters.
    pub fn get_or_default(&self, read: &dyn Read, key: &K) -> io::Result<V> {
        Ok(self.get(read, key)?.unwrap_or_default())
    }

    pub fn put(&self, txn: &mut Txn<'_>, key: &K, row: &V) {
        txn.put(Space::STATE, self.key(key), row.encode_to_vec());
    }

    /// Adds what `more` has to the row, which is made if there is none: fields laid behind a message's are merged into
    /// it.
    pub fn merge(&self, txn: &mut Txn<'_>, key: &K, more: &V) -> io::Result<()> {
        let key = self.key(key);
        let mut row = txn.get(Space::STATE, &key)?.unwrap_or_default();
        row.reserve(more.encoded_len());
        more.encode(&mut row).map_err(io::Error::other)?;
        txn.put(Space::STATE, key, row);
        Ok(())
    }

    pub fn delete(&self, txn: &mut Txn<'_>, key: &K) {
        txn.delete(Space::STATE, self.key(key));
    }

    /// Up to `limit` rows whose key starts with `prefix`, in key order, strictly after `after`.
    pub fn page<P: Key>(
        &self,
        read: &dyn Read,
        prefix: &P,
        after: Option<&K>,
        limit: usize,
    ) -> io::Result<Vec<(K, V)>> {
        let prefix = self.prefix(prefix);
        let after = after.map(|after| self.key(after));
        let end = prefix_end(&prefix);
        let range = KeyRange {
            from: after.as_deref().map_or(Bound::Included(prefix.as_slice()), Bound::Excluded),
            to: end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        };
        self.collect(read, range, limit, |key, row| self.decode(key, row))
    }

    /// Up to `limit` keys from `from` to below `to`.
    pub fn keys(&self, read: &dyn Read, from: &K, to: &K, limit: usize) -> io::Result<Vec<K>> {
        let (from, to) = (self.key(from), self.key(to));
        let found = self.collect(read, KeyRange::new(&from, &to), limit, |_, _| Ok(()))?;
        Ok(found.into_iter().map(|(key, ())| key).collect())
    }

    /// Deletes every row: for a restore, not for apply, whose work is bounded.
    pub fn clear(&self, txn: &mut Txn<'_>) -> io::Result<()> {
        const PAGE: usize = 1024;
        let mut after = None;
        loop {
            let page = self.page(txn, &(), after.as_ref(), PAGE)?;
            page.iter().for_each(|(key, _)| self.delete(txn, key));
            let Some((last, _)) = page.into_iter().next_back() else { return Ok(()) };
            after = Some(last);
        }
    }

    fn collect<T>(
        &self,
        read: &dyn Read,
        range: KeyRange<'_>,
        limit: usize,
        value: impl Fn(&[u8], &[u8]) -> io::Result<T>,
    ) -> io::Result<Vec<(K, T)>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        read.scan(Space::STATE, range, false, &mut |key, row| {
            found.push((self.decode_key(key)?, value(key, row)?));
            Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    fn decode(&self, key: &[u8], row: &[u8]) -> io::Result<V> {
        V::decode(row).map_err(|error| self.corrupt(key, &error.to_string()))
    }

    fn decode_key(&self, key: &[u8]) -> io::Result<K> {
        let mut rest = key.get(1..).unwrap_or_default();
        match K::read(&mut rest) {
            Some(decoded) if rest.is_empty() => Ok(decoded),
            _ => Err(self.corrupt(key, "the key has another shape")),
        }
    }

    /// An error that stops the node: the tables contradict themselves or do not decode.
    pub fn corrupt(&self, key: &[u8], why: &str) -> io::Error {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        io::Error::new(io::ErrorKind::InvalidData, format!("table {}, key {key}: {why}", self.name))
    }

    /// [`Table::corrupt`] for a row that another row promised.
    pub fn missing(&self, key: &K) -> io::Error {
        self.corrupt(&self.key(key), "the row is missing, though another row points to it")
    }
}
