//! Taking over what DLedger wrote: a directory without a `meta`, or records behind ours. What its
//! records and state files mean is in [`import`].

use std::sync::Arc;

use tracing::{info, warn};

use crate::commitlog::control::Control;
use crate::commitlog::index::{IndexUnit, Units};
use crate::commitlog::meta::MetaStore;
use crate::commitlog::record::Header;
use crate::commitlog::recover::{Found, meta_of, no_raft_entries, refuse_far_hole};
use crate::commitlog::{Birth, CommitLog, import};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::types::{Anchor, Index, RaftIndex};

/// Imports a directory that DLedger wrote.
pub(super) fn take_over(disk: Arc<dyn Disk>, birth: &Birth) -> Result<CommitLog> {
    let state = import::state(&*disk)?;
    let names = disk.list("data").map_err(|e| Error::io("data", e))?;
    let first = names.first().and_then(|(name, _)| name.parse::<u64>().ok()).unwrap_or(0);
    if let Some((name, len)) = names.iter().find(|(_, len)| *len != birth.segment_bytes) {
        return Err(Error::Config(format!(
            "segment.bytes: data/{name} has {len} bytes; the configuration says {}",
            birth.segment_bytes
        )));
    }
    no_raft_entries(disk.clone())?;
    Control::create(disk.clone())?;
    let unknown = meta_of(birth, Anchor { pos: first, ..Anchor::default() });
    let mut found = Found::of(disk.clone(), unknown, 0)?;
    let first_segment = found.segments.first().cloned();
    let begin = first_segment.map(|s| import::begin(&s, &mut found.read)).transpose()?.flatten();
    let begin = match begin {
        Some(begin) => begin,
        None => {
            let what = "there are records and no meta, and they are not DLedger's";
            return Err(Error::corrupt(first, what));
        }
    };
    info!("opening a directory that DLedger wrote, from record {} on", begin.index);
    found.index = Units::open(&*disk, "index", birth.index_bytes, begin.index.0)?;
    let (end, _) = found.scan(begin, true)?;
    if found.ours {
        return Err(Error::corrupt(begin.pos, "there are records of ours and no meta"));
    }
    refuse_far_hole(&end, &found.behind(&end)?)?;
    found.sync()?;
    let mut meta = meta_of(birth, begin);
    (meta.term, meta.vote) = (import::raft_term(state.term).max(end.term), birth.node);
    meta.dledger_end = end.mark();
    meta.durable = end;
    meta.committed = found.committed_of(&state, &begin, &end);
    // Made last: until then this is DLedger's directory, and is imported again.
    let store = MetaStore::create(&*disk, &meta)?;
    Found::of(disk, meta, found.read)?.recover(store, birth)
}

impl Found {
    /// DLedger wrote behind our records: all of it counts as DLedger's from here on.
    pub(super) fn take_over_again(
        mut self,
        mut store: MetaStore,
        birth: &Birth,
        first: &Header,
    ) -> Result<CommitLog> {
        let state = import::state(&*self.disk)?;
        warn!("DLedger wrote here since the last open: its end is noted anew");
        let raft_index = RaftIndex(self.meta.begin.index.0);
        let begin = Anchor { raft_index, term: 0, batch: raft_index, ..self.meta.begin };
        self.index.in_use(begin.index.0);
        let (end, _) = self.scan(begin, true)?;
        if end.pos <= first.pos {
            let (index, pos) = (end.index, first.pos);
            let what =
                format!("record {index} is not intact, and DLedger went on behind it at {pos}");
            return Err(Error::corrupt(end.pos, what));
        }
        refuse_far_hole(&end, &self.behind(&end)?)?;
        let (term, vote) =
            (self.meta.term.max(import::raft_term(state.term)).max(end.term), self.meta.node);
        let mut meta = self.meta.clone();
        let known = meta.committed.index.0.checked_sub(1).map(Index);
        let state = import::State { committed: state.committed.max(known), ..state };
        meta.committed = self.committed_of(&state, &begin, &end);
        (meta.term, meta.vote) = (term, vote);
        (meta.begin, meta.durable) = (begin, end);
        meta.dledger_end = end.mark();
        // Our Raft entries are others from here on. What is behind the last goes as in any cut,
        // which one write begins and a crash does not undo.
        meta.cut = Some(end);
        self.sync()?;
        store.store(&meta)?;
        Found::of(self.disk, meta, self.read)?.recover(store, birth)
    }

    /// The committed bound that DLedger noted, as far as the log goes.
    fn committed_of(&self, state: &import::State, begin: &Anchor, end: &Anchor) -> Anchor {
        let Some(committed) = state.committed else { return *begin };
        if committed < begin.index {
            return *begin;
        }
        if committed >= end.index {
            return *end;
        }
        let unit = self.index.get(committed.0).and_then(|u| IndexUnit::decode(&u));
        unit.map_or(*begin, |unit| import::anchor_behind(&unit))
    }
}
