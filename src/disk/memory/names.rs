//! The names of the memory disk: those that programs see, those that are durable, and the changes
//! between them.
//!
//! A change becomes durable by a sync of its directory, a rename by one of the directory it goes
//! to. With it go all earlier changes it stands on, those of the same names. A power cut keeps the
//! durable names and a random number of the changes behind them, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex};

use super::content::Content;

/// A file, under whatever name, or under none while somebody has it open.
pub(super) type Inode = Arc<Mutex<Content>>;

/// All names of a disk.
#[derive(Default)]
pub(super) struct Names {
    /// What programs see.
    pub(super) live: Tree,
    durable: Tree,
    /// What `durable` lacks of `live`, oldest first.
    pending: Vec<Change>,
}

/// Files and directories by path. The topmost directory, `""`, is always there.
#[derive(Clone, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, Inode>,
    pub(super) dirs: BTreeSet<String>,
}

/// One change of the names.
#[derive(Clone)]
pub(super) enum Change {
    MakeDir(String),
    Create(String, Inode),
    Rename { from: String, to: String },
    Remove(String),
}

impl Names {
    /// Makes a change that programs see at once, and that is durable only after a sync.
    pub(super) fn change(&mut self, change: Change) {
        self.live.apply(change.clone());
        self.pending.push(change);
    }

    /// Makes durable what was changed in one directory, and what those changes stand on.
    pub(super) fn sync(&mut self, dir: &str) {
        let mut paths = BTreeSet::new();
        let mut synced = vec![false; self.pending.len()];
        for (change, synced) in self.pending.iter().zip(&mut synced).rev() {
            if change.dir() == dir || change.paths().any(|path| paths.contains(path)) {
                *synced = true;
                paths.extend(change.paths());
            }
        }
        // Those left behind share no name with any later one that goes, so the order between the
        // two kinds does not matter.
        let mut pending = Vec::new();
        for (change, synced) in mem::take(&mut self.pending).into_iter().zip(synced) {
            if synced {
                self.durable.apply(change);
            } else {
                pending.push(change);
            }
        }
        self.pending = pending;
    }

    /// Makes all changes durable.
    pub(super) fn sync_all(&mut self) {
        self.pending.clear();
        self.durable = self.live.clone();
    }

    /// How many changes are not durable.
    pub(super) fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// The names after a power cut that keeps the oldest `kept` of the pending changes.
    pub(super) fn survivors(&self, kept: u64) -> Tree {
        let mut tree = self.durable.clone();
        for change in self.pending.iter().take(kept as usize) {
            tree.apply(change.clone());
        }
        // A directory that is lost takes its contents along.
        let dirs = tree.dirs.clone();
        let reachable = |path: &str| above(path).all(|dir| dirs.contains(dir));
        tree.dirs.retain(|path| reachable(path));
        tree.files.retain(|path, _| reachable(path));
        tree
    }

    /// Names that are durable as they are.
    pub(super) fn of(tree: Tree) -> Names {
        Names { durable: tree.clone(), live: tree, pending: Vec::new() }
    }
}

impl Tree {
    /// Whether there is such a directory.
    pub(super) fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.dirs.contains(dir)
    }

    /// Whether a file or a directory has the name.
    pub(super) fn has(&self, path: &str) -> bool {
        self.has_dir(path) || self.files.contains_key(path)
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::MakeDir(dir) => {
                self.dirs.insert(dir);
            }
            Change::Create(path, inode) => {
                self.files.insert(path, inode);
            }
            Change::Rename { from, to } => {
                if let Some(inode) = self.files.remove(&from) {
                    self.files.insert(to, inode);
                }
            }
            Change::Remove(path) => {
                self.files.remove(&path);
            }
        }
    }
}

impl Change {
    /// The directory whose sync makes it durable.
    fn dir(&self) -> &str {
        match self {
            Change::MakeDir(path) | Change::Create(path, _) | Change::Remove(path) => parent(path),
            Change::Rename { to, .. } => parent(to),
        }
    }

    /// The names it changes.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let (path, other) = match self {
            Change::MakeDir(path) | Change::Create(path, _) | Change::Remove(path) => (path, None),
            Change::Rename { from, to } => (from, Some(to)),
        };
        std::iter::once(path).chain(other).map(String::as_str)
    }
}

/// The directory of a path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// The directories above a path, from the inmost; the topmost is left out.
pub(super) fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(parent(path)), |dir| Some(parent(dir))).take_while(|d| !d.is_empty())
}
