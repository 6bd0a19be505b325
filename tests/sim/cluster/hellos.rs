//! Connections between members. As over TCP each dials each other, nothing is sent before both took
//! the other's hello, and an incarnation that nobody has bound yet is bound before the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dledger::commitlog::meta::{Meta, MetaStore};
use dledger::disk::memory::MemoryDisk;
use dledger::group::peers::{Answer, FromPeer};
use dledger::wire::hello::{VERSION, check, known};
use dledger::wire::{Binding, Expected, Hello};

use super::Cluster;

impl Cluster {
    /// `dialler` connects to `acceptor`, if both are there and each takes the other's hello: then
    /// it may send, and learns how far the other's log goes.
    pub(super) fn meet(&mut self, dialler: u64, acceptor: u64) {
        self.links.remove(&(dialler, acceptor));
        if self.cut.contains(&(dialler, acceptor)) || self.cut.contains(&(acceptor, dialler)) {
            return;
        }
        let Some(hello) = self.hello(dialler, acceptor) else { return };
        if self.hello(acceptor, dialler).is_none() || !self.takes(acceptor, &hello, None) {
            return;
        }
        let Some(answer) = self.hello(acceptor, dialler) else { return };
        if !self.takes(dialler, &answer, Some(acceptor)) {
            return;
        }
        let Some(open) = self.open(dialler) else { return };
        let (end, priority) = (answer.end.raft_index, answer.priority);
        open.shared.post_peer(FromPeer::Met { id: acceptor, end, priority });
        self.links.insert((dialler, acceptor));
    }

    /// Whether a connection stands, and the receiver would still take the sender's hello: else it
    /// ends, as it does when the members change.
    pub(super) fn stands(&mut self, from: u64, to: u64) -> bool {
        let sender = self.open(from).map(|open| open.driver.log().meta().incarnation);
        let sets = self.open(to).map(|open| (open.shared.members(), open.shared.book()));
        let stands = self.links.contains(&(from, to))
            && sets.is_some_and(|(set, book)| {
                let bound = known(&set, book.as_deref(), from);
                bound.is_some_and(|member| Some(member.incarnation) == sender)
            });
        if !stands {
            self.links.remove(&(from, to));
        }
        stands
    }

    /// Every connection that is missing and could be made.
    pub(super) fn dial(&mut self) {
        for dialler in self.ids_of_members() {
            for acceptor in self.ids_of_members() {
                if dialler != acceptor && !self.links.contains(&(dialler, acceptor)) {
                    self.meet(dialler, acceptor);
                }
            }
        }
    }

    /// What a member says to another, as it went over the wire.
    fn hello(&mut self, from: u64, to: u64) -> Option<Hello> {
        if self.hung.contains(&from) {
            return None;
        }
        let priority = self.membership.priority(from);
        let open = self.open(from).filter(|open| open.shared.failure().is_none())?;
        let (meta, members) = (open.driver.log().meta(), open.shared.members());
        let book = open.shared.book();
        let bound = known(&members, book.as_deref(), to);
        let hello = Hello {
            version: VERSION,
            group: meta.group.clone(),
            from,
            to,
            incarnation: meta.incarnation,
            to_incarnation: bound.map_or(0, |member| member.incarnation),
            segment_bytes: meta.segment_bytes,
            priority,
            begin: open.shared.begin(),
            end: open.shared.log_end(),
            members: (*members).clone(),
        };
        Some(Hello::decode(&hello.encode().expect("a hello")).expect("the same hello"))
    }

    fn takes(&mut self, me: u64, hello: &Hello, dialled: Option<u64>) -> bool {
        let Some(open) = self.open(me) else { return false };
        let (meta, members) = (open.driver.log().meta(), open.shared.members());
        let book = open.shared.book();
        let expected = Expected {
            group: &meta.group,
            me,
            incarnation: meta.incarnation,
            dialled,
            members: &members,
            book: book.as_deref(),
            segment_bytes: meta.segment_bytes,
            begin: open.shared.begin(),
        };
        match check(hello, Some(&expected)) {
            Ok(Binding::Bound) => true,
            Ok(Binding::ToBind | Binding::Newer) => self.binds(me, hello),
            Err(refusal) => {
                self.note(("refuses", me, hello.from, refusal));
                false
            }
        }
    }

    /// The group thread of `me` binds who is there, or learns of it. If its disk has no time for it, not now.
    fn binds(&mut self, me: u64, hello: &Hello) -> bool {
        let bound = Arc::new(AtomicBool::new(false));
        let heard = bound.clone();
        let answer = Answer(Box::new(move |bound| heard.store(bound, Ordering::Relaxed)));
        let Some(open) = self.open(me) else { return false };
        open.shared.post_peer(FromPeer::Bind { hello: Box::new(hello.clone()), answer });
        self.turn(me);
        bound.load(Ordering::Relaxed)
    }

    // ---- the loss of a disk -------------------------------------------------------------------

    /// A member loses its disk, and comes back with an empty one: another incarnation, that nobody
    /// lets in. Once in a run, and once all the others have bound the one that is lost: the first
    /// that a member meets is the one that it binds.
    pub(super) fn wipe(&mut self, id: u64) {
        // Where members change a fresh disk is a new member's.
        if self.membership.changing || self.wiped.is_some() || !self.is_bound(id) {
            return;
        }
        self.wiped = Some(id);
        self.die(id, MemoryDisk::new(), "wipe");
        self.members.get_mut(&id).unwrap().term = 0;
    }

    fn is_bound(&self, id: u64) -> bool {
        let Some(own) = self.meta(id) else { return false };
        let binds = |meta: Meta| {
            let mut members = meta.members.members.iter();
            members.any(|m| m.id == id && m.incarnation == own.incarnation)
        };
        self.members.keys().filter(|other| **other != id).all(|o| self.meta(*o).is_some_and(binds))
    }

    /// What is in a member's `meta`.
    pub(super) fn meta(&self, id: u64) -> Option<Meta> {
        let member = &self.members[&id];
        match &member.open {
            Some(open) => Some(open.driver.log().meta().clone()),
            None => MetaStore::read(&member.disk).ok().flatten(),
        }
    }

    /// Whether the group can count on a member: it has the disk that it had.
    pub(super) fn belongs(&self, id: u64) -> bool {
        self.wiped != Some(id)
    }
}
