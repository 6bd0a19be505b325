//! What the engine logs (through `slog`) goes where everything else goes.

use std::fmt::Write;

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, o};

/// A logger for the engine. Its daily life is of interest when something is searched only.
pub fn logger(group: &str) -> Logger {
    Logger::root(Trace, o!("group" => group.to_owned()))
}

struct Trace;

impl Drain for Trace {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => tracing::error!("{}", text(record, values)),
            Level::Warning => tracing::warn!("{}", text(record, values)),
            Level::Info | Level::Debug if tracing::enabled!(tracing::Level::DEBUG) => {
                tracing::debug!("{}", text(record, values));
            }
            Level::Trace if tracing::enabled!(tracing::Level::TRACE) => {
                tracing::trace!("{}", text(record, values));
            }
            _ => {}
        }
        Ok(())
    }
}

fn text(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut text = Text(record.msg().to_string());
    let _ = record.kv().serialize(record, &mut text);
    let _ = values.serialize(record, &mut text);
    text.0
}

struct Text(String);

impl slog::Serializer for Text {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}").map_err(|_| slog::Error::Other)
    }
}
