//! Damage at rest: bits that flip in what was on disk for good.

use dledger::error::Status;
use dledger::group::ReadOptions;

use super::*;

impl Cluster {
    /// A bit flips in what one member has checkpointed, in a run that has such a member. Another one
    /// has each record: nobody loses its disk, and nobody purges.
    pub(super) fn rot(&mut self) {
        let Some(id) = self.rotten else { return };
        let checked = self.members[&id].checked;
        let Some(durable) = self.meta(id).map(|meta| meta.durable.index.0.min(checked)) else {
            return;
        };
        let Some(open) = self.open(id) else { return };
        let begin = open.shared.state().begin.index.0;
        if durable > begin {
            let index = self.faults.u64(begin..durable);
            let at = self.faults.u64(..48 + u64::from(self.agreed[index as usize].0.body_len));
            self.flip(id, index, at);
            self.note(("rots", id, index, at));
            if self.faults.bool() {
                let _ = self.reads(id, index);
            }
        }
    }

    /// Flips a bit in a record that is agreed, so many bytes behind the beginning of its header.
    pub(super) fn flip(&self, id: u64, index: u64, at: u64) {
        let (entry, _) = &self.agreed[index as usize];
        let member = &self.members[&id];
        let pos = entry.pos + at;
        let begin = pos - pos % member.settings.segment_bytes;
        assert!(member.disk.flip(&format!("data/{begin:020}"), pos - begin, 0x40));
    }

    /// What a reader is given who asks for checksums.
    pub(super) fn reads(&self, id: u64, index: u64) -> Result<(), Status> {
        let options =
            ReadOptions { wait: Some(Duration::ZERO), verify: true, ..ReadOptions::default() };
        let open = self.members[&id].open.as_ref().expect("it is open");
        let view = open.shared.read(Index(index), &options)?;
        let (entry, body) = &self.agreed[index as usize];
        assert_eq!((view.entries(), &view.bytes()[48..]), (&[*entry][..], &body[..]));
        Ok(())
    }

    /// Reads everything everywhere, until all of it is right.
    pub(super) fn all_is_readable(&mut self) {
        // Each is asked for, also when one is not right.
        let wrong = |c: &Cluster| {
            let mut wrong = Vec::new();
            for id in c.members.keys().filter(|id| c.belongs(**id)) {
                let state = c.members[id].open.as_ref().unwrap().shared.state();
                for index in state.begin.index.0..state.committed.index.0 {
                    wrong.extend(c.reads(*id, index).err().map(|status| (*id, index, status)));
                }
            }
            wrong
        };
        let readable = |c: &Cluster| wrong(c).is_empty().then_some(());
        if self.until(30_000, readable).is_none() {
            panic!("not all that one member has is repaired: {:?}", wrong(self));
        }
    }
}
