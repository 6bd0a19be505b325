//! What must be true: every append that was given a place, how it ended, and what may be found of
//! it afterwards.

use std::collections::BTreeMap;

use dledger::error::Status;
use dledger::group::Entry;

/// One record that was given a place.
#[derive(Clone, Debug)]
pub struct Placed {
    pub entry: Entry,
    pub body: Vec<u8>,
    /// How its call ended, if it did.
    pub status: Option<Status>,
}

/// The log as its appenders know it.
#[derive(Default)]
pub struct Model {
    /// By index: the record that has it, as far as anyone knows.
    pub records: BTreeMap<u64, Placed>,
    /// Below it nothing may ever change: acknowledged, or found committed after a crash.
    pub fixed: u64,
    /// Below it records may be gone for good: purged on demand.
    pub purged: u64,
    /// Highest term in which a record was placed.
    pub term: u64,
}

impl Model {
    /// An append was given a place.
    pub fn placed(&mut self, entry: Entry, body: Vec<u8>) {
        assert!(entry.term >= self.term, "a term falls: {entry:?} after term {}", self.term);
        self.term = entry.term;
        let before = self.records.insert(entry.index.0, Placed { entry, body, status: None });
        if let Some(before) = before {
            panic!("two records at index {}: {before:?} and {entry:?}", entry.index);
        }
        if let Some(last) = self.records.range(..entry.index.0).next_back() {
            assert_eq!(*last.0 + 1, entry.index.0, "indexes have a gap");
        }
    }

    /// An append ended.
    pub fn ended(&mut self, index: u64, count: u32, status: Status) {
        for index in index..index + u64::from(count) {
            let Some(record) = self.records.get_mut(&index) else {
                panic!("completed {index}, which nobody appended")
            };
            assert_eq!(record.status, None, "record {index} ends twice");
            record.status = Some(status);
            if status == Status::Ok {
                assert!(index >= self.fixed, "completions out of order at {index}");
                self.fixed = index + 1;
            }
        }
    }

    /// What a log has after it was opened again: `keeps` says whether acknowledged records must be
    /// there. Records that are not are forgotten: their indexes are given anew.
    pub fn found(&mut self, begin: u64, records: &[(Entry, Vec<u8>)], keeps: bool) {
        let end = begin + records.len() as u64;
        assert!(begin <= self.purged, "begin {begin} is above what was purged, {}", self.purged);
        if keeps {
            assert!(
                end >= self.fixed,
                "record {} was acknowledged, the log ends at {end}",
                self.fixed
            );
        }
        for (entry, body) in records {
            let Some(known) = self.records.get(&entry.index.0) else {
                panic!("record {} was appended by nobody: {entry:?}", entry.index)
            };
            assert_eq!((known.entry, &known.body), (*entry, body), "record {}", entry.index);
        }
        self.records.retain(|index, _| *index < end);
        self.fixed = if keeps { self.fixed } else { self.fixed.min(end) };
        // What never heard of its end never will: its process is gone.
        for record in self.records.values_mut() {
            record.status.get_or_insert(Status::LeaderLost);
        }
    }
}
