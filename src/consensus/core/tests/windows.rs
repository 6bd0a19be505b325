//! How much is on its way to a member that is behind, and that it never waits with nothing on its way.

use super::*;

impl Cluster {
    /// Led by 1; all have what there is.
    fn led(ids: &[u64]) -> Cluster {
        let mut all = Cluster::new(ids, ids);
        all.elect(1);
        all.append(1, b"before");
        all.tick(4);
        all
    }

    /// Three members, of whom 3 missed 200 batches.
    fn with_one_behind() -> (Cluster, u64) {
        let mut all = Cluster::led(&[1, 2, 3]);
        let begin = all.peer(1).core.log().end().pos;
        all.away = 3;
        for _ in 0..200 {
            all.append(1, &[7; 1000]);
        }
        all.away = NO_PEER;
        let missed = all.peer(1).core.log().end().pos - begin;
        assert!(missed > 10 * WINDOW);
        (all, missed)
    }

    /// The leader shows that it leads.
    fn beat(&mut self) {
        for _ in 0..2 {
            self.on(1, |peer| {
                peer.core.tick();
                peer.settle(&[], &[])
            });
        }
    }

    fn bytes_to(&self, id: u64) -> u64 {
        let frames = self.frames.iter().filter(|frame| frame.to == id);
        frames.map(|frame| frame.bytes.len() as u64).sum()
    }

    /// Whether the leader sends as it likes to a member that has not all, and nothing is on its
    /// way between them.
    fn waits_for_a_beat(&self, id: u64) -> bool {
        let core = &self.peers[0].core;
        let progress = core.node.raft.prs().get(id).unwrap();
        progress.state == ProgressState::Replicate
            && core.matched(id) < core.last()
            && !self.frames.iter().any(|frame| frame.from == id || frame.to == id)
    }
}

/// Each byte once, and no more of them on their way than a window and what one answer adds: what
/// does not fit into the queue of a socket is lost, and all behind it is sent again.
#[test]
fn a_member_that_was_away_is_sent_what_it_missed_in_windows() {
    let (mut all, missed) = Cluster::with_one_behind();
    let (mut most, mut sum, mut beats, mut emptied) = (0, 0, 0, 0);
    while all.peer(3).core.committed() < all.peer(1).core.committed() {
        if all.frames.is_empty() {
            beats += 1;
            assert!(beats <= 3, "it waits for heartbeats");
            all.beat();
        }
        most = most.max(all.bytes_to(3));
        let Frame { from, to, bytes } = all.frames.pop_front().unwrap();
        sum += if to == 3 { bytes.len() as u64 } else { 0 };
        all.on(to, |peer| peer.hear(from, &bytes).1);
        let core = &all.peer(1).core;
        let progress = core.node.raft.prs().get(3).unwrap();
        let is_sent = progress.next_idx > core.last().0;
        emptied += usize::from(!is_sent && progress.ins.count() <= 1);
    }
    assert!(emptied <= 3, "its window was emptied {emptied} times");
    let burst = (BURST as u64 + 1) * pace(1).message_bytes;
    assert!((WINDOW / 2..=WINDOW + burst).contains(&most), "{most} bytes on their way");
    assert!(sum <= missed + missed / 4, "{sum} bytes sent for {missed}");
    all.assert_same();
}

/// What it is not sent is not queued for it either.
#[test]
fn a_member_that_does_not_answer_is_sent_a_window() {
    let mut all = Cluster::led(&[1, 2, 3]);
    let mut sent = 0;
    for _ in 0..200 {
        all.on(1, |peer| peer.append(&[&[7; 1000], b"second"]));
        while let Some(Frame { from, to, bytes }) = all.frames.pop_front() {
            match to {
                3 => sent += bytes.len() as u64,
                _ => all.on(to, |peer| peer.hear(from, &bytes).1),
            }
        }
    }
    assert_eq!(all.peer(1).core.committed(), all.peer(1).core.last());
    assert!((WINDOW / 2..=2 * WINDOW).contains(&sent), "{sent} bytes on their way");
}

/// Answers go on the member's own connection: the leader is not told that they are lost. The next
/// heartbeat makes up for all of them.
#[test]
fn lost_answers_to_a_full_window_cost_a_heartbeat() {
    let mut all = Cluster::led(&[1, 2, 3]);
    all.away = 2;
    for _ in 0..200 {
        all.on(1, |peer| peer.append(&[&[7; 60], b"second"]));
    }
    while let Some(Frame { from, to, bytes }) = all.frames.pop_front() {
        if from == 1 && to == 3 {
            // What it answers is lost.
            let _ = all.peer(3).hear(1, &bytes);
        }
    }
    assert!(all.peer(1).core.committed() < all.peer(1).core.last());
    for _ in 0..3 {
        all.beat();
        all.deliver();
    }
    assert_eq!(all.peer(1).core.committed(), all.peer(1).core.last());
}

/// Frames of all members in any order that keeps that of each connection: whoever is behind and
/// answers is sent more, whatever was sent to the others.
#[test]
fn nobody_waits_with_nothing_on_its_way() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let ids = [1, 2, 3, 4, 5];
        let mut all = Cluster::led(&ids);
        let behind: Vec<u64> = [2, 3, 4, 5].into_iter().filter(|_| random.bool()).collect();
        for _ in 0..40 {
            all.on(1, |peer| peer.append(&[&[7; 1000], b"second"]));
            all.frames.retain(|frame| !behind.contains(&frame.to));
            all.deliver();
        }
        for id in &behind {
            all.peer(1).core.lost(*id);
        }
        all.beat();
        let mut left = 60;
        while let Some(last) = all.frames.len().checked_sub(1) {
            let Frame { from, to, .. } = all.frames[random.usize(0..=last)];
            let first = all.frames.iter().position(|f| (f.from, f.to) == (from, to)).unwrap();
            let Frame { bytes, .. } = all.frames.remove(first).unwrap();
            all.on(to, |peer| peer.hear(from, &bytes).1);
            if left > 0 && random.bool() {
                left -= 1;
                all.on(1, |peer| peer.append(&[&[7; 1000], b"second"]));
            }
            for id in &ids[1..] {
                assert!(!all.waits_for_a_beat(*id), "seed {seed}: {id} waits");
            }
        }
        all.assert_same();
    }
}

/// Entries without records are small: more of them fit into a message than an append may have.
#[test]
fn more_entries_than_an_append_may_have_are_several() {
    let (members, voters, learners) = (vec![member(1), member(2)], vec![1], vec![2]);
    let set = MemberSet { members, voters, learners, ..MemberSet::default() };
    let mut peers = vec![Peer::new(1, set.clone()), Peer::new(2, set)];
    for peer in &mut peers {
        peer.core.pace.message_bytes = 4 << 20;
        peer.core.node.raft.max_msg_size = 4 << 20;
    }
    let mut all = Cluster { peers, frames: VecDeque::new(), away: 2 };
    for _ in 0..ENTRIES_MAX + 100 {
        all.on(1, |peer| {
            let term = peer.core.node.raft.term;
            peer.core.node.raft.become_follower(term, NOBODY);
            peer.core.campaign().unwrap();
            peer.settle(&[], &[])
        });
        all.frames.clear();
    }
    all.away = NO_PEER;
    all.peer(1).core.lost(2);
    all.assert_same();
}
