//! Values of options, read from text. Each function answers the value, or what is wrong with the
//! text; bounds and names of the allowed values stand in the table.

use std::time::Duration;

use super::{Stamp, StampEncoding, StampValue};

/// A value, or what is wrong with its text.
pub(super) type Parsed<T> = std::result::Result<T, String>;

/// Text within quotes, cut to a length that leaves room for the rest of a message.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Digits, and what follows them.
fn digits(value: &str) -> Option<(&str, &str)> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    (end > 0).then(|| value.split_at(end))
}

pub(super) fn integer(value: &str) -> Parsed<u64> {
    match digits(value) {
        Some((digits, "")) => digits.parse().map_err(|_| "too large".into()),
        _ => Err("not a whole number".into()),
    }
}

pub(super) fn size(value: &str) -> Parsed<u64> {
    let (digits, unit) = digits(value).ok_or("not a size")?;
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => {
            let unit = unit.to_ascii_lowercase();
            return Err(match unit.as_str() {
                "k" | "kb" | "kib" => "not a size, use KiB",
                "m" | "mb" | "mib" => "not a size, use MiB",
                "g" | "gb" | "gib" => "not a size, use GiB",
                _ => "not a size",
            }
            .into());
        }
    };
    digits.parse().ok().and_then(|n: u64| n.checked_mul(unit)).ok_or_else(|| "too large".into())
}

/// In nanoseconds.
pub(super) fn duration(value: &str) -> Parsed<u64> {
    let (digits, unit) = digits(value).ok_or("not a duration")?;
    let unit = match unit {
        "ns" => 1,
        "us" => MS / 1000,
        "ms" => MS,
        "s" => S,
        "m" => 60 * S,
        "h" => H,
        "" => return Err("a duration without a unit (ns, us, ms, s, m or h)".into()),
        _ => return Err("not a duration (its unit is ns, us, ms, s, m or h)".into()),
    };
    digits.parse().ok().and_then(|n: u64| n.checked_mul(unit)).ok_or_else(|| "too long".into())
}

pub(super) fn ratio(value: &str) -> Parsed<f64> {
    let plain = value.chars().all(|c| c.is_ascii_digit() || c == '.');
    match value.parse() {
        Ok(ratio) if plain && ratio < 0.5 => Err("too small".into()),
        Ok(ratio) if plain && ratio > 1.0 => Err("too large".into()),
        Ok(ratio) if plain => Ok(ratio),
        _ => Err("not a ratio".into()),
    }
}

pub(super) fn choice<T: Copy>(value: &str, choices: &[(&str, T)]) -> Parsed<T> {
    let chosen = choices.iter().find(|(name, _)| *name == value);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| "not one of the choices".into())
}

pub(super) fn unless_off<T>(value: &str, parse: impl Fn(&str) -> Parsed<T>) -> Parsed<Option<T>> {
    if value == "off" { Ok(None) } else { parse(value).map(Some) }
}

pub(super) fn within(n: u64, min: u64, max: u64) -> Parsed<u64> {
    match n {
        n if n < min => Err("too small".into()),
        n if n > max => Err("too large".into()),
        n => Ok(n),
    }
}

pub(super) fn between(nanos: u64, min: u64, max: u64) -> Parsed<Duration> {
    match nanos {
        n if n < min => Err("too short".into()),
        n if n > max => Err("too long".into()),
        n => Ok(Duration::from_nanos(n)),
    }
}

pub(super) fn text(value: &str) -> Parsed<String> {
    match value {
        "" => Err("empty".into()),
        _ if value.contains('\0') => Err("it has a NUL".into()),
        _ => Ok(value.into()),
    }
}

pub(super) fn name(value: &str) -> Parsed<String> {
    match value {
        _ if value.len() > 255 => Err("too long".into()),
        _ if value.chars().any(char::is_control) => Err("it has a control character".into()),
        _ => text(value),
    }
}

pub(super) fn node_id(value: &str) -> Parsed<u64> {
    within(integer(value)?, 1, i64::MAX as u64)
}

pub(super) fn address(value: &str) -> Parsed<String> {
    let wrong = |text: &str| Err(format!("{} {text}", shown(value)));
    let Some((host, port)) = value.rsplit_once(':') else {
        return wrong("has no :port");
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"@,[]".contains(c);
    if !bracketed.unwrap_or(host).chars().all(plain) || matches!(bracketed, Some("")) {
        return wrong("has no proper host");
    }
    match host {
        "" => wrong("has no host"),
        _ if host.len() > 255 => wrong("has too long a host"),
        _ if bracketed.is_none() && host.contains(':') => wrong("needs [ ] around its host"),
        _ => match integer(port) {
            Ok(1..=65_535) => Ok(value.into()),
            _ => wrong("has no port of 1 to 65535"),
        },
    }
}

pub(super) fn members(value: &str) -> Parsed<Vec<(u64, String)>> {
    let mut members: Vec<(u64, String)> = Vec::new();
    for member in value.split(',') {
        let Some((id, at)) = member.split_once('@') else {
            return Err(format!("{} has no @", shown(member)));
        };
        let id = node_id(id).map_err(|e| format!("id {}: {e} (1 to 2^63-1)", shown(id)))?;
        if members.iter().any(|(other, _)| *other == id) {
            return Err(format!("member {id} is there twice"));
        }
        members.push((id, address(at)?));
    }
    Ok(members)
}

pub(super) fn stamp(value: &str) -> Parsed<Stamp> {
    let [offset, number, encoding] = value.split(':').collect::<Vec<_>>()[..] else {
        return Err("not three parts".into());
    };
    let offset = within(integer(offset)?, 0, u64::from(u32::MAX))? as u32;
    let numbers =
        [("body_pos", StampValue::BodyPos), ("pos", StampValue::Pos), ("index", StampValue::Index)];
    let encodings = [("be64", StampEncoding::Be64), ("le64", StampEncoding::Le64)];
    let (value, encoding) = (choice(number, &numbers)?, choice(encoding, &encodings)?);
    Ok(Stamp { offset, value, encoding })
}

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
/// Nanoseconds.
pub(super) const MS: u64 = 1_000_000;
pub(super) const S: u64 = 1000 * MS;
pub(super) const H: u64 = 3600 * S;
/// Characters of a wrong text that a message shows: it has 247 bytes in the C ABI.
pub(super) const SHOWN: usize = 48;
