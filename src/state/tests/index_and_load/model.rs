//! Indexes and loads told in ordered maps and sets, the slow and obvious way: every loaded partition is listed.

use std::collections::{BTreeMap, BTreeSet};

/// A refusal is compared by its code.
pub type Answer<T> = Result<T, i32>;

#[derive(Clone, Debug, Default)]
pub struct Collection {
    pub partitions: BTreeMap<String, i64>,
    /// By name: field and metric.
    pub indexes: BTreeMap<String, (i64, String)>,
    pub load: Option<Load>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// New partitions are loaded too.
    pub whole: bool,
    pub partitions: BTreeSet<i64>,
    pub replicas: usize,
    pub fields: BTreeSet<i64>,
}

pub const VECTOR: i64 = 101;

impl Collection {
    /// True: it is new.
    pub fn create_index(&mut self, field: i64, name: &str, metric: &str) -> Answer<bool> {
        let of_field = self.indexes.iter().find(|(_, (of, _))| *of == field).map(|(name, _)| name.clone());
        let name = match (name, &of_field) {
            ("", Some(present)) => present.clone(),
            ("", None) => "vector".to_owned(),
            (name, _) => name.to_owned(),
        };
        match self.indexes.get(&name) {
            Some(present) if *present == (field, metric.to_owned()) => return Ok(false),
            Some(_) => return Err(1100),
            None if of_field.is_some() => return Err(1100),
            None => {}
        }
        self.indexes.insert(name, (field, metric.to_owned()));
        Ok(true)
    }

    /// True: there was one.
    pub fn drop_index(&mut self, name: &str) -> Answer<bool> {
        let named: Vec<String> = self.indexes.keys().filter(|key| name.is_empty() || *key == name).cloned().collect();
        match named.as_slice() {
            [] => Ok(false),
            [one] if self.indexes[one].0 == VECTOR && self.load.is_some() => Err(1100),
            [one] => {
                self.indexes.remove(one);
                Ok(true)
            }
            _ => Err(702),
        }
    }

    fn loadable(&self, fields: &BTreeSet<i64>) -> Answer<()> {
        if self.indexes.is_empty() {
            return Err(700);
        }
        let indexed = self.indexes.values().any(|(field, _)| *field == VECTOR);
        if fields.contains(&VECTOR) && !indexed { Err(1100) } else { Ok(()) }
    }

    /// True: something changed.
    pub fn load(&mut self, replicas: usize, fields: BTreeSet<i64>) -> Answer<bool> {
        self.loadable(&fields)?;
        let partitions = self.partitions.values().copied().collect();
        let new = Some(Load { whole: true, partitions, replicas, fields });
        let changed = self.load != new;
        self.load = new;
        Ok(changed)
    }

    pub fn load_partitions(&mut self, ids: &BTreeSet<i64>, replicas: usize, fields: BTreeSet<i64>) -> Answer<bool> {
        if ids.is_empty() {
            return Err(1100);
        }
        if self.load.as_ref().is_some_and(|load| load.replicas != replicas) {
            return Err(1100);
        }
        self.loadable(&fields)?;
        let old = self.load.clone();
        let (whole, mut partitions) =
            old.as_ref().map_or((false, BTreeSet::new()), |l| (l.whole, l.partitions.clone()));
        partitions.extend(ids);
        self.load = Some(Load { whole, partitions, replicas, fields });
        Ok(self.load != old)
    }

    pub fn release_partitions(&mut self, ids: &BTreeSet<i64>) -> Answer<bool> {
        if ids.is_empty() {
            return Err(1100);
        }
        let Some(load) = &mut self.load else { return Ok(false) };
        let before = load.partitions.len();
        load.partitions.retain(|id| !ids.contains(id));
        let changed = load.partitions.len() != before;
        if load.partitions.is_empty() {
            self.load = None;
        }
        Ok(changed)
    }

    pub fn create_partition(&mut self, name: &str, id: i64) {
        self.partitions.insert(name.to_owned(), id);
        if let Some(load) = &mut self.load
            && load.whole
        {
            load.partitions.insert(id);
        }
    }

    pub fn drop_partition(&mut self, name: &str) -> Answer<()> {
        let Some(id) = self.partitions.get(name) else { return Ok(()) };
        if self.load.as_ref().is_some_and(|load| load.partitions.contains(id)) {
            return Err(1100);
        }
        self.partitions.remove(name);
        Ok(())
    }
}
