//! One copy: the source's keys at a pinned revision, page by page into the target, then compared.

use std::path::PathBuf;
use std::time::Instant;

use super::super::confirm::confirm;
use super::super::exit::Failure;
use super::super::output::note;
use super::pages::{self, Digest, Pages};
use super::resume::Progress;
use super::store::{Denied, Store};
use super::{Copied, Options};
use crate::limits;
use crate::pb::etcd::api::{PutRequest, RangeRequest, ResponseHeader};
use crate::pb::etcd::kv::KeyValue;

pub struct Copy {
    pub from: Store,
    pub to: Store,
    pub options: Options,
    pub state: PathBuf,
    pub yes: bool,
}

impl Copy {
    pub async fn run(mut self) -> Result<Copied, Failure> {
        let (source, total) = self.count(true).await?;
        let (target, target_keys) = self.count(false).await?;
        if source.cluster_id == target.cluster_id {
            return Err(Failure::Usage("source and target are the same cluster".to_owned()));
        }
        let begun =
            Progress::begin(source.cluster_id, target.cluster_id, &self.options.prefix, source.revision, target_keys);
        if self.options.dry_run {
            return self.dry_run(begun, total).await;
        }
        let kept = if self.options.restart { None } else { Progress::load(&self.state)? };
        let resumed = kept.is_some();
        let mut progress = match kept {
            Some(kept) => self.go_on(kept, &begun)?,
            None => self.begin(begun)?,
        };
        if !progress.cleared {
            self.clear().await?;
            progress.cleared = true;
            progress.save(&self.state)?;
        }
        self.copy(&mut progress, total).await?;
        let hash = self.verify(&progress).await?;
        Progress::forget(&self.state)?;
        Ok(self.report(&progress, resumed, Some(hash)))
    }

    /// The header and the number of keys under the prefix.
    async fn count(&mut self, source: bool) -> Result<(ResponseHeader, u64), Failure> {
        let (key, range_end) = pages::bounds(self.options.prefix.as_bytes());
        let request = RangeRequest { key, range_end, count_only: true, ..RangeRequest::default() };
        let store = if source { &mut self.from } else { &mut self.to };
        let answer = store.range(request).await?;
        let header = answer.header.ok_or_else(|| Failure::Failed(format!("{} sends no header", store.kind)))?;
        Ok((header, answer.count.unsigned_abs()))
    }

    fn begin(&self, begun: Progress) -> Result<Progress, Failure> {
        let (target, prefix, keys) = (self.to.describe(), &self.options.prefix, begun.target_keys_before);
        if keys > 0 && !self.options.overwrite {
            return Err(Failure::Failed(format!(
                "{target} has {keys} keys under '{prefix}'; with --overwrite they are deleted first"
            )));
        }
        if keys > 0 {
            confirm(self.yes, &format!("Delete {keys} keys under '{prefix}' of {target}?"))?;
        }
        begun.save(&self.state)?;
        Ok(begun)
    }

    /// Checks that the state file is about this very copy.
    fn go_on(&self, kept: Progress, begun: &Progress) -> Result<Progress, Failure> {
        let file = self.state.display();
        let same = kept.prefix == begun.prefix
            && kept.source_cluster == begun.source_cluster
            && kept.target_cluster == begun.target_cluster;
        if !same {
            return Err(Failure::Failed(format!(
                "{file} is about another copy (prefix '{}' at revision {}); name another file by --state, or begin \
                 again with --restart",
                kept.prefix, kept.revision
            )));
        }
        note(&format!("going on after {} keys at revision {} ({file})", kept.keys, kept.revision));
        Ok(kept)
    }

    /// Deletes the target's keys in pieces: one request may change a bounded number of keys.
    async fn clear(&mut self) -> Result<(), Failure> {
        let (key, end) = pages::bounds(self.options.prefix.as_bytes());
        loop {
            let request = RangeRequest {
                key: key.clone(),
                range_end: end.clone(),
                limit: limits::CTL_COPY_DELETED_AT_ONCE,
                keys_only: true,
                ..RangeRequest::default()
            };
            let found = self.to.range(request).await?.kvs;
            let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(()) };
            self.to.delete(first.key.clone(), pages::after(&last.key)).await?;
        }
    }

    async fn dry_run(mut self, mut progress: Progress, total: u64) -> Result<Copied, Failure> {
        let mut pages = self.pages(&progress);
        let mut meter = Meter::new(total);
        loop {
            let rows = pages.next(&mut self.from).await.map_err(|denied| self.source_lost(denied, &progress))?;
            if rows.is_empty() {
                return Ok(self.report(&progress, false, None));
            }
            tally(&mut progress, &rows);
            meter.tick(&progress);
        }
    }

    fn pages(&self, progress: &Progress) -> Pages {
        Pages::new(self.options.prefix.as_bytes(), progress.last_key().as_deref(), progress.revision)
    }

    async fn copy(&mut self, progress: &mut Progress, total: u64) -> Result<(), Failure> {
        let mut pages = self.pages(progress);
        let mut meter = Meter::new(total);
        loop {
            let rows = pages.next(&mut self.from).await.map_err(|denied| self.source_lost(denied, progress))?;
            let Some(last) = rows.last().map(|row| row.key.clone()) else { break };
            tally(progress, &rows);
            for batch in batches(rows) {
                self.to.put_all(batch).await?;
            }
            progress.reached(&last);
            progress.save(&self.state)?;
            meter.tick(progress);
        }
        note(&format!("{} keys copied; comparing", progress.keys));
        Ok(())
    }

    fn source_lost(&self, denied: Denied, progress: &Progress) -> Failure {
        match denied {
            Denied::Compacted if self.options.dry_run => Failure::Failed(format!(
                "{} compacted revision {} meanwhile: count again",
                self.from.describe(),
                progress.revision
            )),
            Denied::Compacted => Failure::Failed(format!(
                "{} compacted revision {} after {} keys were copied: the copy cannot go on at that revision. Begin \
                 again with --restart --overwrite, and keep the source from compacting meanwhile",
                self.from.describe(),
                progress.revision,
                progress.keys
            )),
            denied => denied.into(),
        }
    }

    /// The hash that both sides have.
    async fn verify(&mut self, progress: &Progress) -> Result<String, Failure> {
        let prefix = self.options.prefix.clone().into_bytes();
        let source = Digest::of(&mut self.from, &prefix, progress.revision).await;
        let source = source.map_err(|denied| self.source_lost(denied, progress))?;
        let (now, _) = self.count(false).await?;
        let target = Digest::of(&mut self.to, &prefix, now.revision).await?;
        if (source.keys, source.hash()) == (target.keys, target.hash()) {
            return Ok(source.hash().to_hex().to_string());
        }
        Err(Failure::Failed(format!(
            "the two differ after the copy: {} has {} keys at revision {} (BLAKE3 {}), {} has {} at revision {} ({}). \
             Was the target written to meanwhile? Begin again with --restart --overwrite",
            self.from.describe(),
            source.keys,
            progress.revision,
            source.hash(),
            self.to.describe(),
            target.keys,
            now.revision,
            target.hash()
        )))
    }

    fn report(&self, progress: &Progress, resumed: bool, blake3: Option<String>) -> Copied {
        Copied {
            from: self.from.describe(),
            to: self.to.describe(),
            prefix: self.options.prefix.clone(),
            revision: progress.revision,
            keys: progress.keys,
            bytes: progress.bytes,
            leased_keys_left_out: progress.leased_keys,
            leased_bytes_left_out: progress.leased_bytes,
            target_keys_before: progress.target_keys_before,
            dry_run: self.options.dry_run,
            resumed,
            blake3,
        }
    }
}

fn tally(progress: &mut Progress, rows: &[KeyValue]) {
    for row in rows {
        let (keys, bytes) = match row.lease {
            0 => (&mut progress.keys, &mut progress.bytes),
            _ => (&mut progress.leased_keys, &mut progress.leased_bytes),
        };
        *keys += 1;
        *bytes += pages::bytes_of(row);
    }
}

/// The rows without a lease, in transactions that any etcd takes.
fn batches(rows: Vec<KeyValue>) -> Vec<Vec<PutRequest>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for row in rows.into_iter().filter(|row| row.lease == 0) {
        let cost = pages::bytes_of(&row);
        let full = batch.len() >= limits::CTL_COPY_TXN_OPERATIONS || bytes + cost > limits::CTL_COPY_TXN_BYTES;
        if full && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += cost;
        batch.push(PutRequest { key: row.key, value: row.value, ..PutRequest::default() });
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// Says on stderr how far it is, now and then.
struct Meter {
    total: u64,
    said: Instant,
}

impl Meter {
    fn new(total: u64) -> Self {
        Meter { total, said: Instant::now() }
    }

    fn tick(&mut self, progress: &Progress) {
        if self.said.elapsed() >= limits::CTL_COPY_PROGRESS_PERIOD {
            self.said = Instant::now();
            let read = progress.keys + progress.leased_keys;
            note(&format!("{read} of about {} keys, {} MiB", self.total, progress.bytes >> 20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: u32, bytes: usize, lease: i64) -> KeyValue {
        KeyValue { key: key.to_be_bytes().to_vec(), value: vec![1; bytes], lease, ..KeyValue::default() }
    }

    #[test]
    fn transactions_are_bounded_and_nothing_is_left_out_but_leases() {
        let large = limits::CTL_COPY_TXN_BYTES as usize;
        let mut rows: Vec<KeyValue> = (0..250).map(|key| row(key, 10, i64::from(key == 7))).collect();
        rows.extend([row(1000, large / 2, 0), row(1001, large / 2, 0), row(1002, large + 5, 0), row(1003, 1, 0)]);
        let batches = batches(rows.clone());
        let put: Vec<&Vec<u8>> = batches.iter().flatten().map(|put| &put.key).collect();
        let wanted: Vec<&Vec<u8>> = rows.iter().filter(|row| row.lease == 0).map(|row| &row.key).collect();
        assert_eq!(put, wanted);
        for batch in &batches {
            let bytes: usize = batch.iter().map(|put| put.key.len() + put.value.len()).sum();
            assert!(!batch.is_empty() && batch.len() <= limits::CTL_COPY_TXN_OPERATIONS);
            assert!(bytes as u64 <= limits::CTL_COPY_TXN_BYTES || batch.len() == 1, "{bytes}");
        }
        let mut progress = Progress::begin(1, 2, "", 3, 0);
        tally(&mut progress, &rows);
        assert_eq!((progress.keys, progress.leased_keys, progress.leased_bytes), (253, 1, 14));
    }
}
