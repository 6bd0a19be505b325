use proptest::prelude::*;

use super::*;

const KEYS: [&str; 29] = [
    "dir",
    "group",
    "node.id",
    "node.listen",
    "node.priority",
    "members",
    "member.addresses",
    "begin.pos",
    "segment.bytes",
    "flush",
    "append.max.bytes",
    "append.pending.max",
    "append.pending.bytes",
    "append.timeout",
    "append.stamp",
    "election.timeout",
    "heartbeat.interval",
    "retention.bytes",
    "retention.time",
    "disk.full.ratio",
    "recovery.missing.tail",
    "tls.cert",
    "tls.key",
    "tls.ca",
    "insecure.listen",
    "callbacks",
    // Of the design, without a name in the header.
    "index.segment.bytes",
    "unsynced.max",
    "checkpoint.interval",
];

const LIVE: [&str; 10] = [
    "flush",
    "append.max.bytes",
    "append.pending.max",
    "append.pending.bytes",
    "append.timeout",
    "append.stamp",
    "retention.bytes",
    "retention.time",
    "disk.full.ratio",
    "checkpoint.interval",
];

/// Per option: values it takes, values it refuses.
const VALUES: &[(&str, &[&str], &[&str])] = &[
    ("dir", &["/var/log", "a b"], &["", "a\0b"]),
    ("group", &["g", "broker-a"], &["", "a\nb"]),
    (
        "node.id",
        &["1", "9223372036854775807"],
        &["0", "9223372036854775808", "-1", "+1", "1 ", " 1", "x", "", "1B", "0x1"],
    ),
    (
        "node.listen",
        &["0.0.0.0:20911", "[::1]:1", "host:65535"],
        &["", "host", "host:", ":1", "host:0", "host:65536", "host:-1", "::1:1", "[]:1", "a b:1"],
    ),
    ("node.priority", &["0", "4294967295"], &["4294967296", "-1", "high"]),
    (
        "members",
        &["1@a:20911", "1@a:20911,2@b:20911,3@[::1]:20911"],
        &["", "1", "1@a", "0@a:1", "1@a:1,", "1@a:1,1@b:1", "1@a:70000", "1@a:1, 2@b:1", "@a:1"],
    ),
    ("member.addresses", &["2@b:20911"], &["2@b", "2@b:1,2@c:1"]),
    ("begin.pos", &["0", "1GiB", "1073741824"], &["-1", "5EiB", "9223372036854775807"]),
    (
        "segment.bytes",
        &["4KiB", "102400", "100000B", "1GiB", "4294967295"],
        &["4095", "4GiB", "1GB", "1 GiB", " 1GiB", "-1", "1.5GiB", "GiB", "99999999999999999999"],
    ),
    ("index.segment.bytes", &["4KiB", "167772160", "1GiB"], &["4000", "5001", "2GiB", "off"]),
    ("flush", &["commit", "1ms", "60s", "1m"], &["", "10", "999us", "61s", "never", "1.5ms"]),
    ("append.max.bytes", &["1", "4MiB", "4294967239"], &["0", "4294967240", "4M", "4mb"]),
    ("append.pending.max", &["1", "10000000"], &["0", "10000001", "1KiB"]),
    ("append.pending.bytes", &["64KiB", "64GiB"], &["65535", "65GiB"]),
    ("append.timeout", &["1ms", "1h", "60m"], &["0s", "2500", "61m", "18446744073709551615h"]),
    (
        "append.stamp",
        &["off", "28:body_pos:be64", "0:pos:le64", "4000:index:be64"],
        &["", "28", "28:body_pos", "x:pos:be64", "1:size:be64", "1:pos:be32", "1:pos:be64:"],
    ),
    ("election.timeout", &["50ms", "60s"], &["49ms", "61s", "1"]),
    ("heartbeat.interval", &["5ms", "30s"], &["4ms", "31s", "off"]),
    ("retention.bytes", &["off", "4KiB", "10GiB"], &["on", "0", "1TB"]),
    ("retention.time", &["off", "72h", "1ms"], &["72", "0s", "3d", "876001h"]),
    ("disk.full.ratio", &["0.50", "0.9", "1", "1.00"], &["0.49", "1.01", "nan", "9e-1", "", "."]),
    ("recovery.missing.tail", &["refuse", "clamp"], &["", "Refuse", "cut"]),
    ("tls.cert", &["/etc/cert.pem"], &[""]),
    ("tls.key", &["/etc/key.pem"], &[""]),
    ("tls.ca", &["/etc/ca.pem"], &[""]),
    ("insecure.listen", &["yes", "no"], &["true", ""]),
    ("callbacks", &["thread", "poll"], &["threads", ""]),
    ("unsynced.max", &["64KiB", "1GiB"], &["65535", "2GiB"]),
    ("checkpoint.interval", &["10ms", "1h"], &["9ms", "61m", "3"]),
];

fn options(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    for (key, value) in [("dir", "d"), ("node.id", "1")].iter().chain(pairs) {
        options.set(key, value).unwrap();
    }
    options
}

fn refusal(result: Result<()>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.status(), crate::error::Status::Config);
    error.to_string()
}

/// Each option takes the good values and refuses the bad ones, changes nothing then, and says what
/// is allowed in a text that fits the C ABI's message.
#[test]
fn values() {
    for info in OPTIONS {
        let (_, good, bad) = VALUES.iter().find(|(key, ..)| *key == info.key).unwrap();
        for value in *good {
            Options::default().set(info.key, value).unwrap();
        }
        for value in *bad {
            let mut options = Options::default();
            let text = refusal(options.set(info.key, value));
            assert!(text.starts_with(&format!("{} = {value:?}: ", info.key)), "{text}");
            assert!(text.ends_with(info.allowed), "{text}");
            assert!(text.len() < 248, "{text}");
            assert_eq!(options, Options::default());
        }
    }
}

/// The table has every option of the C header and of the design, each once, and the right ones
/// change live.
#[test]
fn table() {
    let mut keys: Vec<_> = OPTIONS.iter().map(|info| info.key).collect();
    let mut expected: Vec<_> = KEYS.to_vec();
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    for info in OPTIONS {
        assert_eq!(info.live, LIVE.contains(&info.key), "{}", info.key);
        let kinds = ["bytes", "duration", "integer", "ratio", "text", "choice"];
        assert!(kinds.contains(&info.kind) && info.doc.ends_with('.'), "{}", info.key);
    }
}

/// Each preset is a value of its own option, and the defaults are the presets.
#[test]
fn presets() {
    let mut options = Options::default();
    for info in OPTIONS.iter().filter(|info| !info.preset.is_empty()) {
        options.set(info.key, info.preset).unwrap();
    }
    options = Options { append_max_set: false, unsynced_max_set: false, ..options };
    assert_eq!(options, Options::default());
    assert_eq!((options.segment_bytes, options.index_bytes), (1 << 30, 167_772_160));
    assert_eq!((options.append_max, options.unsynced_max), (4 << 20, 16 << 20));
    assert_eq!(options.append_timeout, Duration::from_millis(2500));
    assert_eq!((options.disk_full_ratio, options.flush), (0.9, Flush::Commit));
}

/// A refusal says what to write instead, and an unknown key which one was meant.
#[test]
fn texts() {
    let text = |key: &str, value: &str| refusal(Options::default().set(key, value));
    let sizes = "allowed: 4KiB to 4GiB-1, written as a number with B, KiB, MiB or GiB";
    assert_eq!(
        text("segment.bytes", "1GB"),
        format!("segment.bytes = \"1GB\": not a size, use GiB; {sizes}")
    );
    assert_eq!(text("segment.bytes", "x"), format!("segment.bytes = \"x\": not a size; {sizes}"));
    assert!(text("append.timeout", "10").contains("without a unit (ns, us, ms, s, m or h)"));
    assert!(text("members", "1@a:1,1@b:1").contains("member 1 is there twice"));
    assert!(text("members", "1@a:1,2b:1").contains("\"2b:1\" has no @"));
    assert!(text("members", "1@a:65536").contains("has no port of 1 to 65535"));
    assert!(text("segment.byte", "1").ends_with("the closest one is segment.bytes"));
    assert!(text("apend.timeout", "1").ends_with("the closest one is append.timeout"));
    assert!(text(&"members".repeat(1000), &"x".repeat(5000)).len() < 248);
    assert!(text("members", &"x".repeat(5000)).len() < 248);
}

/// Values mean what their units say.
#[test]
fn units() {
    let options = options(&[
        ("flush", "10ms"),
        ("members", "1@a:1,2@b:2"),
        ("append.stamp", "28:body_pos:be64"),
        ("append.pending.bytes", "3MiB"),
        ("retention.time", "72h"),
        ("checkpoint.interval", "11000us"),
    ]);
    assert_eq!(options.flush, Flush::Every(Duration::from_millis(10)));
    assert_eq!(options.members, [(1, "a:1".to_owned()), (2, "b:2".to_owned())]);
    let (value, encoding) = (StampValue::BodyPos, StampEncoding::Be64);
    assert_eq!(options.append_stamp, Some(Stamp { offset: 28, value, encoding }));
    assert_eq!(options.pending_bytes, 3 << 20);
    assert_eq!(options.retention_time, Some(Duration::from_secs(72 * 3600)));
    assert_eq!(options.checkpoint_interval, Duration::from_millis(11));
    options.validate().unwrap();
}

/// Options that contradict each other are refused, by name.
#[test]
fn cross_checks() {
    options(&[]).validate().unwrap();
    assert!(refusal(Options::default().validate()).contains("dir must be set"));
    let mut nameless = Options::default();
    nameless.set("dir", "d").unwrap();
    assert!(refusal(nameless.validate()).contains("node.id must be set"));
    for (pairs, text) in [
        (
            &[("members", "2@a:1,3@b:1")][..],
            "members does not have node.id = 1, so this member waits to be added: node.listen must \
             be set",
        ),
        (&[("begin.pos", "1000")], "not a multiple of segment.bytes"),
        (&[("segment.bytes", "4KiB"), ("append.max.bytes", "4041")], "is above 4040"),
        (&[("append.max.bytes", "2MiB"), ("unsynced.max", "2MiB")], "is below 2097200"),
        (&[("append.max.bytes", "32"), ("append.stamp", "28:pos:be64")], "append.stamp at 28"),
        (&[("heartbeat.interval", "501ms")], "above half of election.timeout"),
        (&[("tls.cert", "c"), ("tls.ca", "a")], "must be set together"),
    ] {
        let refused = refusal(options(pairs).validate());
        assert!(refused.contains(text), "{refused}");
    }
    for pairs in [
        &[("members", "2@a:1,1@b:1")][..],
        &[("begin.pos", "200KiB"), ("segment.bytes", "100KiB")],
        &[("segment.bytes", "4KiB"), ("append.max.bytes", "4040")],
        &[("append.max.bytes", "24"), ("append.stamp", "16:pos:be64")],
        &[("heartbeat.interval", "500ms")],
        &[("tls.cert", "c"), ("tls.ca", "a"), ("tls.key", "k")],
    ] {
        options(pairs).validate().unwrap();
    }
}

/// What was not set follows what was, in whichever order; what was set stays.
#[test]
fn derived() {
    let small = options(&[("segment.bytes", "4KiB")]);
    assert_eq!((small.append_max, small.unsynced_max), (4040, 16 << 20));
    small.validate().unwrap();
    let large = options(&[("append.max.bytes", "64MiB")]);
    assert_eq!(large.unsynced_max, (64 << 20) + 48);
    large.validate().unwrap();
    let back = options(&[("segment.bytes", "4KiB"), ("segment.bytes", "1GiB")]);
    assert_eq!(back, options(&[]));
    let set = options(&[("append.max.bytes", "5MiB"), ("segment.bytes", "4KiB")]);
    assert_eq!(set.append_max, 5 << 20);
    set.validate().unwrap_err();
    let largest = options(&[("segment.bytes", "4294967295"), ("append.max.bytes", "4294967239")]);
    largest.validate().unwrap();
}

/// An open log takes a live option that fits the others, and nothing else changes.
#[test]
fn live() {
    let mut open = options(&[]);
    open.set_live("append.timeout", "7s").unwrap();
    assert_eq!(open, options(&[("append.timeout", "7s")]));
    let before = open.clone();
    for (key, value, text) in [
        ("segment.bytes", "2GiB", "does not change while the log is open"),
        ("append.max.bytes", "32MiB", "unsynced.max"),
        ("append.timeout", "x", "not a duration"),
        ("append.timeouts", "1s", "closest one is append.timeout"),
    ] {
        let refused = refusal(open.set_live(key, value));
        assert!(refused.contains(text), "{refused}");
        assert_eq!(open, before);
    }
}

proptest! {
    /// No text makes a panic, as key or as value (P15).
    #[test]
    fn arbitrary_text(key in any::<String>(), value in any::<String>(), which in 0..OPTIONS.len()) {
        let mut options = Options::default();
        let _ = options.set(&key, &value);
        let _ = options.set(OPTIONS[which].key, &value);
        let _ = options.set_live(OPTIONS[which].key, &value);
        let _ = options.validate();
    }

    /// The same with texts that resemble values.
    #[test]
    fn likely_text(
        value in "[0-9]{0,22}[.@:,-]{0,2}(B|KiB|GiB|ns|us|ms|s|m|h|a:1|pos:be64)?[,:@0-9]{0,6}",
        which in 0..OPTIONS.len(),
    ) {
        let mut options = Options::default();
        let _ = options.set(OPTIONS[which].key, &value);
        let _ = options.validate();
    }
}
