//! Damage at rest: what any member still has is repaired; what none has any more is damage to the end,
//! and costs nothing else.

use dledger::error::Status;

use super::*;

impl Cluster {
    /// Three members with so many records, all of them on disk for good.
    fn three_with(seed: u64, records: u64) -> Cluster {
        let mut cluster = Cluster::three(seed, "commit");
        let leader = cluster.leader();
        cluster.append_many(leader, records);
        cluster.all_checkpoint(records);
        cluster
    }

    /// Waits until all that are open have so many records on disk for good.
    fn all_checkpoint(&mut self, index: u64) {
        self.all_come_to(index);
        let behind = |c: &Cluster| {
            let open = c.members.iter().filter(|(_, m)| m.open.is_some());
            open.filter(|(id, _)| c.meta(**id).unwrap().durable.index.0 < index).count()
        };
        self.until(20_000, |c| (behind(c) == 0).then_some(())).expect("checkpoints");
    }
}

/// P5, behaviour 37. On the leader and on followers, in headers and bodies.
#[test]
fn behaviour_37_what_a_reader_finds_damaged_is_repaired() {
    let mut cluster = Cluster::three_with(37, 12);
    for id in cluster.ids_of_members() {
        for (index, at) in [(0, 0), (3, 5), (4, 8), (5, 33), (6, 37), (7, 41), (8, 48), (9, 1_000)]
        {
            cluster.flip(id, index, at);
            assert_eq!(cluster.reads(id, index), Err(Status::Corrupt), "byte {at}");
            cluster.wait(20);
            assert_eq!(cluster.reads(id, index), Ok(()), "byte {at} on member {id}");
        }
        // Who asks by position meets it, too.
        cluster.flip(id, 2, 0);
        let pos = cluster.agreed[2].0.pos + 50;
        let index_at = |c: &Cluster| c.members[&id].open.as_ref().unwrap().shared.index_at(pos);
        assert_eq!(index_at(&cluster), Err(Status::Corrupt));
        cluster.wait(20);
        assert_eq!(index_at(&cluster), Ok(Index(2)));
    }
    cluster.all_agree();
}

/// P6, review case 10. Each record is damaged on two of three, and no two have the same damage.
#[test]
fn case_10_different_damage_on_every_member() {
    let mut cluster = Cluster::three_with(10, 12);
    for index in 0..12 {
        for n in 0..2 {
            cluster.flip(1 + (index + n) % 3, index, 50 * n + 30 * index);
        }
    }
    cluster.all_is_readable();
    cluster.all_agree();
}

/// Review case 10: repair needs no leader. Two of five are left, with different damage.
#[test]
fn case_10_damage_without_a_leader() {
    let disks = [1, 2, 3, 4, 5].map(|_| MemoryDisk::new());
    let mut cluster = Cluster::of(11, settings(4_096, "commit"), &disks);
    let leader = cluster.leader();
    cluster.append_many(leader, 12);
    cluster.all_checkpoint(12);
    let left = [leader, cluster.others(&[leader])[0]];
    for id in cluster.others(&left) {
        cluster.stop(id);
    }
    cluster.until(10_000, |c| c.ready_leader().is_none().then_some(())).expect("it steps down");
    for index in 0..12 {
        cluster.flip(left[index as usize % 2], index, 7 * index);
    }
    let readable = |c: &Cluster| {
        let wrong = |id: &u64| (0..12).filter(|index| c.reads(*id, *index).is_err()).count();
        (left.iter().map(wrong).sum::<usize>() == 0).then_some(())
    };
    cluster.until(20_000, readable).expect("what the other has is repaired");
    assert!(cluster.ready_leader().is_none());
    cluster.all_agree();
}

/// P14. A leader whose bytes are damaged sends them to nobody, has them repaired by another member,
/// and then goes on.
#[test]
fn a_member_that_was_away_is_not_sent_damage() {
    let mut cluster = Cluster::three(12, "commit");
    let leader = cluster.leader();
    let [away, other] = cluster.others(&[leader])[..] else { unreachable!() };
    cluster.isolate(away);
    cluster.append_many(leader, 20);
    cluster.come_to(&[leader, other], 20);
    let durable = |c: &Cluster| {
        let durable = |id: u64| c.meta(id).unwrap().durable.index.0;
        (durable(leader) >= 20 && durable(other) >= 20).then_some(())
    };
    cluster.until(20_000, durable).expect("checkpoints");
    for (id, index) in [(leader, 3), (other, 4), (leader, 9), (leader, 10), (other, 15)] {
        cluster.flip(id, index, 100);
    }
    cluster.mend();
    cluster.all_come_to(20);
    cluster.all_is_readable();
    cluster.all_agree();
}

/// P5. What is damaged everywhere stays damaged, and is never anything else; everything else goes
/// on. With one good copy back it is repaired.
#[test]
fn what_nobody_has_any_more_costs_nothing_else() {
    let mut cluster = Cluster::three_with(13, 12);
    for id in cluster.ids_of_members() {
        cluster.flip(id, 5, 60 + id);
    }
    for _ in 0..20 {
        for id in cluster.ids_of_members() {
            for index in 0..12 {
                let read = cluster.reads(id, index);
                assert_eq!(read, if index == 5 { Err(Status::Corrupt) } else { Ok(()) });
            }
        }
        let leader = cluster.leader();
        cluster.append_many(leader, 1);
        cluster.wait(500);
    }
    cluster.all_come_to(32);
    cluster.flip(2, 5, 62);
    cluster.all_is_readable();
    cluster.all_agree();
}

/// What is damaged goes with its head: nobody is asked for it any more.
#[test]
fn a_purge_takes_damage_along() {
    let mut cluster = Cluster::three_with(14, 20);
    for id in cluster.ids_of_members() {
        cluster.flip(id, 1, 60 + id);
        assert_eq!(cluster.reads(id, 1), Err(Status::Corrupt));
    }
    cluster.wait(100);
    for id in cluster.ids_of_members() {
        cluster.open(id).unwrap().shared.ask(Control::DeletePrefix(Index(10)));
    }
    cluster.wait(100);
    for id in cluster.ids_of_members() {
        assert_eq!(cluster.reads(id, 1), Err(Status::Compacted));
    }
    cluster.all_agree();
}
