//! The C ABI. The public items of the files below, with their comments, are the header
//! `include/dledger.h`: each file is one section of it, and the rules at its top hold here.
//!
//! Every exported function runs inside `guard`: no panic leaves it, misuse gives a status. What
//! C gave us is called through `callback` only. Beside these, `handle`, `sized` and `text` turn
//! pointers into references; nothing else here is more than a translation.
#![allow(unsafe_code)] // one of the two places; the other is disk/map.rs
#![allow(non_camel_case_types)] // C names
#![allow(missing_docs)] // a field whose name says all has no comment
#![allow(clippy::missing_safety_doc)] // the rules at the top of the header, for all of them
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)] // "[waits]" is for C

mod callback;
mod guard;
mod handle;
mod sized;
mod text;

mod append;
mod cluster;
mod events;
mod log;
mod options;
mod poll;
mod read;
mod state;
mod status;
mod trace;
mod types;

pub use append::*;
pub use cluster::*;
pub use events::*;
pub use log::*;
pub use options::*;
pub use poll::*;
pub use read::*;
pub use state::*;
pub use status::*;
pub use trace::*;
pub use types::*;
