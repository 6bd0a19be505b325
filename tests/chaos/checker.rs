//! What a group promises, checked against all that was seen of it. As an append tells its index, the
//! log gives its own order: each check is one pass, no search.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At this index, in this term.
    Committed { index: u64, term: u64 },
    /// It is not in the log and never will be.
    Never,
    /// It may be in the log.
    Unknown,
}

/// An append; times are of one clock, in ns.
#[derive(Clone, Debug)]
pub struct Append {
    pub body: String,
    pub invoked: u64,
    pub returned: u64,
    pub outcome: Outcome,
}

/// A read barrier that was passed: everything below `index` can be read.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    pub invoked: u64,
    pub returned: u64,
    pub index: u64,
}

/// A record that a member showed while the group ran.
#[derive(Clone, Debug)]
pub struct Seen {
    pub index: u64,
    pub term: u64,
    pub body: String,
}

/// What a member said it is, in the order in which it said so.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    pub node: u64,
    pub term: u64,
    pub leads: bool,
}

/// A member's log at the end: index, term and body of each record.
#[derive(Clone, Debug)]
pub struct Log {
    pub node: u64,
    pub records: Vec<(u64, u64, String)>,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub appends: Vec<Append>,
    pub barriers: Vec<Barrier>,
    pub seen: Vec<Seen>,
    pub roles: Vec<Role>,
    pub logs: Vec<Log>,
}

/// A promise that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two observers have different records at one index.
    Disagree { index: u64, one: String, other: String },
    /// A record that nobody appended.
    FromNowhere { index: u64, body: String },
    /// One append, two records.
    Twice { body: String, indexes: [u64; 2] },
    /// An append that was committed is not in a final log.
    Lost { node: u64, index: u64, body: String },
    /// An append that was said not to be in the log is there.
    Never { index: u64, body: String },
    /// A log jumps over an index, or begins elsewhere.
    Gap { node: u64, index: u64 },
    /// Terms fall along a log.
    LogTerm { node: u64, index: u64 },
    /// What was invoked after a return has an index below one that had returned.
    Order { index: u64, returned: u64 },
    /// A read that was invoked after a return does not see what had returned.
    Stale { index: u64, returned: u64 },
    /// A member's term fell.
    TermFell { node: u64, from: u64, to: u64 },
    /// A term with two leaders.
    TwoLeaders { term: u64, nodes: [u64; 2] },
}

/// The first violation, if there is one.
pub fn check(history: &History) -> Result<(), Violation> {
    agreement(history)?;
    once(history)?;
    history.logs.iter().try_for_each(|log| whole(history, log))?;
    real_time(history)?;
    roles(history)
}

/// Every observer has the same at an index: final logs, reads on the way, and who was told that its
/// append is there.
fn agreement(history: &History) -> Result<(), Violation> {
    let logs = history.logs.iter().flat_map(|log| &log.records);
    let logs = logs.map(|(index, term, body)| (*index, *term, body));
    let seen = history.seen.iter().map(|seen| (seen.index, seen.term, &seen.body));
    let told = history.appends.iter().filter_map(|append| match append.outcome {
        Outcome::Committed { index, term } => Some((index, term, &append.body)),
        _ => None,
    });
    let mut agreed = HashMap::new();
    for (index, term, body) in logs.chain(seen).chain(told) {
        let (agreed_term, agreed_body) = *agreed.entry(index).or_insert((term, body));
        if (agreed_term, agreed_body) != (term, body) {
            let one = format!("{agreed_body} in term {agreed_term}");
            let other = format!("{body} in term {term}");
            return Err(Violation::Disagree { index, one, other });
        }
    }
    Ok(())
}

/// Every record was appended, and once. All observers agree, so an index stands for its record.
fn once(history: &History) -> Result<(), Violation> {
    let outcomes: HashMap<&str, Outcome> =
        history.appends.iter().map(|append| (append.body.as_str(), append.outcome)).collect();
    let logs = history.logs.iter().flat_map(|log| &log.records);
    let logs = logs.map(|(index, _, body)| (*index, body));
    let seen = history.seen.iter().map(|seen| (seen.index, &seen.body));
    let mut places = HashMap::new();
    for (index, body) in logs.chain(seen) {
        match outcomes.get(body.as_str()) {
            None => return Err(Violation::FromNowhere { index, body: body.clone() }),
            Some(Outcome::Never) => return Err(Violation::Never { index, body: body.clone() }),
            Some(_) => {}
        }
        let first = *places.entry(body).or_insert(index);
        if first != index {
            return Err(Violation::Twice { body: body.clone(), indexes: [first, index] });
        }
    }
    Ok(())
}

/// A final log begins at 0, has no gap and no term that falls, and all that was committed.
fn whole(history: &History, log: &Log) -> Result<(), Violation> {
    let (node, mut term) = (log.node, 0);
    for (n, (index, its_term, _)) in log.records.iter().enumerate() {
        if *index != n as u64 {
            return Err(Violation::Gap { node, index: n as u64 });
        }
        if *its_term < term {
            return Err(Violation::LogTerm { node, index: *index });
        }
        term = *its_term;
    }
    for append in &history.appends {
        if let Outcome::Committed { index, .. } = append.outcome
            && log.records.get(index as usize).is_none_or(|(.., body)| *body != append.body)
        {
            return Err(Violation::Lost { node, index, body: append.body.clone() });
        }
    }
    Ok(())
}

/// Real-time order, by one sweep that keeps the first index that must not be given any more.
fn real_time(history: &History) -> Result<(), Violation> {
    /// At equal times what is invoked comes first: the two may have been at once.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum What {
        Append(u64),
        Read(u64),
        Returned(u64),
    }
    let mut sweep = Vec::new();
    for append in &history.appends {
        if let Outcome::Committed { index, .. } = append.outcome {
            sweep.push((append.invoked, What::Append(index)));
            sweep.push((append.returned, What::Returned(index + 1)));
        }
    }
    for barrier in &history.barriers {
        sweep.push((barrier.invoked, What::Read(barrier.index)));
        sweep.push((barrier.returned, What::Returned(barrier.index)));
    }
    sweep.sort();
    let mut returned = 0;
    for (_, what) in sweep {
        match what {
            What::Append(index) if index < returned => {
                return Err(Violation::Order { index, returned });
            }
            What::Read(index) if index < returned => {
                return Err(Violation::Stale { index, returned });
            }
            What::Returned(index) => returned = returned.max(index),
            What::Append(_) | What::Read(_) => {}
        }
    }
    Ok(())
}

/// A member's terms do not fall, and a term has one leader.
fn roles(history: &History) -> Result<(), Violation> {
    let (mut terms, mut leaders) = (HashMap::new(), HashMap::new());
    for role in &history.roles {
        let (node, to) = (role.node, role.term);
        let from = terms.insert(node, to).unwrap_or(0);
        if to < from {
            return Err(Violation::TermFell { node, from, to });
        }
        let leader = if role.leads { *leaders.entry(to).or_insert(node) } else { node };
        if leader != node {
            return Err(Violation::TwoLeaders { term: to, nodes: [leader, node] });
        }
    }
    Ok(())
}
