//! What a setting may be: every kind of value, how its text is read, and what is said of a text that is none.

use super::without_password;
use mishards_discovery::StaticList;
use std::net::SocketAddr;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Longer times are typing errors, and sums of them would not fit a clock.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// The catalog and the marker of the shared directory keep names of at most so many characters.
const NAME_CHARS: usize = 255;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Suggested only for what is so near to a known name.
const NEAR: usize = 2;

/// See the file's head. Of the kinds with an address, those that may be empty say so.
pub enum Kind {
    Text,
    /// Texts, separated by commas.
    List,
    Path,
    Name,
    /// A name that can stand in a list of members.
    NodeName,
    OneOf(fn() -> Vec<&'static str>),
    /// host:port to listen on; port 0 means any.
    Listen,
    /// host:port of somebody, or empty.
    Address,
    /// ip:port, or empty.
    SocketAddress,
    /// http://host:port, or empty.
    Http,
    Number {
        min: u64,
        max: u64,
    },
    /// Plain, or with a unit.
    Bytes {
        min: u64,
    },
    /// With a unit, or in `unit`.
    Duration {
        unit: &'static str,
        min: Duration,
    },
    /// From 0 to 1.
    Ratio,
    LogFilter,
    /// A version of the Milvus protocol that is spoken here.
    Version,
    /// Where the catalog is, or empty.
    Catalog,
    /// name=host:port, separated by commas, or empty.
    Members,
}

impl Kind {
    /// Whether a list in a file may be given.
    pub fn takes_list(&self) -> bool {
        matches!(self, Kind::List | Kind::Members | Kind::LogFilter)
    }

    /// Refuses a text that is no such value: the answer goes on after the name of the key.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let fits = match self {
            Kind::Text | Kind::List => true,
            Kind::Path => !text.trim().is_empty(),
            Kind::Name => is_name(text),
            Kind::NodeName => is_name(text) && !text.contains([',', '=', '@']),
            Kind::OneOf(names) => names().contains(&text),
            Kind::Listen => is_address(text),
            Kind::Address => text.is_empty() || is_address(text) && !text.ends_with(":0"),
            Kind::SocketAddress => text.is_empty() || text.parse::<SocketAddr>().is_ok(),
            Kind::Http => text.is_empty() || is_http(text),
            Kind::Number { min, max } => whole(text).is_some_and(|n| (*min..=*max).contains(&n)),
            Kind::Bytes { min } => bytes(text).is_some_and(|n| n >= *min),
            Kind::Duration { unit, min } => {
                duration(text, unit).is_some_and(|time| (*min..=LONGEST).contains(&time))
            }
            Kind::Ratio => text.trim().parse::<f64>().is_ok_and(|r| (0.0..=1.0).contains(&r)),
            Kind::LogFilter => {
                not_a_directive(text).is_none() && EnvFilter::try_new(list(text).join(",")).is_ok()
            }
            Kind::Version => is_version(text),
            Kind::Catalog => return check_catalog(text),
            Kind::Members => return check_members(text),
        };
        if fits {
            return Ok(());
        }
        Err(format!("must be {}, not {text:?}{}", self.in_words(), self.suggestion(text)))
    }

    /// What values there are.
    fn in_words(&self) -> String {
        match self {
            Kind::Text | Kind::List | Kind::Catalog | Kind::Members => "a text".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Name => format!("a name of 1 to {NAME_CHARS} characters, without control characters"),
            Kind::NodeName => format!("a name of 1 to {NAME_CHARS} characters, none of them a comma, = or @"),
            Kind::OneOf(names) => one_of(&names()),
            Kind::Listen => "host:port, such as 0.0.0.0:19530".to_owned(),
            Kind::Address => "host:port, such as node-1:19540".to_owned(),
            Kind::SocketAddress => "ip:port, such as 10.0.0.1:53".to_owned(),
            Kind::Http => "an address such as http://jaeger:4317 (without TLS)".to_owned(),
            Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Bytes { min } => format!("a size of at least {min} bytes, such as 67108864, 512MB or 1GiB"),
            Kind::Duration { unit, min } => format!(
                "a time from {} s to {} d, such as 500ms, 10s, 5m or 1h; a plain number means {unit}",
                min.as_secs_f64(),
                LONGEST.as_secs() / 86_400
            ),
            Kind::Ratio => "a number from 0 to 1".to_owned(),
            Kind::LogFilter => {
                format!("a log level ({}) or target=level pairs, separated by commas", LEVELS.join(", "))
            }
            Kind::Version => {
                "a version of the form v2.6.x, such as v2.6.0-mishards: clients go by it".to_owned()
            }
        }
    }

    fn suggestion(&self, text: &str) -> String {
        let (known, text) = match self {
            Kind::OneOf(names) => (names(), text),
            Kind::LogFilter => {
                let wrong = not_a_directive(text).unwrap_or_default();
                (LEVELS.to_vec(), wrong.rsplit('=').next().unwrap_or_default())
            }
            _ => return String::new(),
        };
        match nearest(text, known.into_iter()) {
            Some(near) if edits(text, near) <= NEAR => format!("; did you mean {near}?"),
            _ => String::new(),
        }
    }
}

/// As in "a, b or c".
fn one_of(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        Some((only, _)) => (*only).to_owned(),
        None => "nothing".to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    let has_form = !text.trim().is_empty() && !text.contains(char::is_control);
    has_form && text.chars().count() <= NAME_CHARS
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', '@', '[', ']']),
    };
    is_host && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok()
}

fn is_http(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
}

/// Clients split the version at its dots, and take the first two numbers for the protocol.
fn is_version(text: &str) -> bool {
    let Some(patch) = text.strip_prefix("v2.6.") else { return false };
    let (number, suffix) = patch.split_once('-').unwrap_or((patch, "x"));
    let is_number = !number.is_empty() && number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit());
    let is_suffix = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    is_number && !suffix.is_empty() && suffix.bytes().all(is_suffix)
}

/// The first part of a log filter that is none. A word that is no level would be taken for a target, and silence all
/// others.
fn not_a_directive(filter: &str) -> Option<&str> {
    let is_level = |text: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text));
    let fits = |part: &&str| match part.trim().split_once('=') {
        Some((target, level)) => {
            !target.is_empty() && !target.contains(char::is_whitespace) && is_level(level)
        }
        None => is_level(part.trim()),
    };
    filter.split(',').find(|part| !fits(part)).map(str::trim)
}

fn check_catalog(text: &str) -> Result<(), String> {
    let is_mysql = text.starts_with("mysql://") || text.starts_with("mariadb://");
    if is_mysql {
        return mishards_catalog::check_mysql_url(text).map_err(|e| format!("cannot be used: {e}"));
    }
    match text.strip_prefix("sqlite:") {
        _ if text.is_empty() => Ok(()),
        Some(path) if !path.trim().is_empty() => Ok(()),
        _ => Err(format!(
            "must be sqlite:PATH or mysql://user:password@host:port/database, not {:?}",
            without_password(text)
        )),
    }
}

fn check_members(text: &str) -> Result<(), String> {
    StaticList::parse(&list(text)).map(drop).map_err(|e| format!("cannot be used: {e}"))
}

/// The parts of a list.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

pub fn whole(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A number and what stands behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A size: a plain number of bytes, or with a unit: powers of 1000 (`kB`, `MB`, `GB`, `TB`) or of 1024 (`KiB`, `MiB`, `GiB`,
/// `TiB`).
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => return number.parse().ok(),
        "kb" => 1000,
        "mb" => 1000_u64.pow(2),
        "gb" => 1000_u64.pow(3),
        "tb" => 1000_u64.pow(4),
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor),
        Err(_) => {
            let bytes = number.parse::<f64>().ok()? * factor as f64;
            (bytes < u64::MAX as f64).then_some(bytes as u64)
        }
    }
}

/// A time: with one of the units `ms`, `s`, `m`, `h`, `d`, or a plain number in `unit`.
pub fn duration(text: &str, unit: &str) -> Option<Duration> {
    let (number, own) = split_unit(text);
    let seconds = match if own.is_empty() { unit } else { own } {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// The known name with the fewest edits.
pub fn nearest(text: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known.min_by_key(|known| edits(text, known))
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        for (text, size) in [
            ("0", 0),
            ("67108864", 67_108_864),
            (" 5 B", 5),
            ("512MB", 512_000_000),
            ("512MiB", 512 << 20),
            ("1 GiB", 1 << 30),
            ("1.5kib", 1536),
            ("2TB", 2_000_000_000_000),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "-1", "512M", "512 MBit", "MiB", "1.5", "1..5kB", "99999999TiB", "1e3", "ñ"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn times_take_units() {
        for (text, unit, millis) in [
            ("5", "s", 5000),
            ("0.5", "s", 500),
            ("5", "ms", 5),
            ("5m", "s", 300_000),
            ("10s", "ms", 10_000),
            ("500ms", "s", 500),
            ("1.5h", "s", 5_400_000),
            ("2 d", "s", 172_800_000),
        ] {
            assert_eq!(duration(text, unit), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "1e9", "s", "5min", "5 minutes", "inf", "NaN"] {
            assert_eq!(duration(text, "s"), None, "{text}");
        }
    }

    #[test]
    fn kinds_refuse_what_they_are_not() {
        let long = "x".repeat(NAME_CHARS + 1);
        for (kind, good, bad) in [
            (Kind::Name, vec!["a b", "ü"], vec!["", " ", "a\nb", &long]),
            (Kind::NodeName, vec!["node-1"], vec!["a=b", "a,b", "a@b"]),
            (
                Kind::Listen,
                vec!["0.0.0.0:1", "[::]:1", "localhost:0"],
                vec!["", "1", ":1", "::1", "h:", "h:x", "h:70000", "http://h:1", "h h:1", "[x]:1"],
            ),
            (Kind::Address, vec!["", "h:1"], vec!["h", "h:0"]),
            (Kind::SocketAddress, vec!["", "10.0.0.1:53"], vec!["10.0.0.1", "dns:53"]),
            (
                Kind::Http,
                vec!["", "http://jaeger:4317", "http://h"],
                vec!["jaeger", "jaeger:4317", "https://h:1", "http://", "/x", "grpc://h:1"],
            ),
            (Kind::Number { min: 1, max: 9 }, vec!["1", "9"], vec!["", "0", "10", "-1", "1.0", "x"]),
            (Kind::Bytes { min: 4096 }, vec!["4KiB"], vec!["4kB", "0", "-1"]),
            (
                Kind::Duration { unit: "s", min: Duration::from_secs(1) },
                vec!["1", "365d"],
                vec!["0", "-1", "999ms", "366d", "1e40", "99999999999999999999999999999d"],
            ),
            (Kind::Ratio, vec!["0", "1", "0.25"], vec!["", "7", "-0.1", "NaN", "half"]),
            (
                Kind::LogFilter,
                vec!["debug", "OFF", "info, sqlx=warn", "mishards_node=trace"],
                vec!["", "debg", "verbose", "info,", "info,sqlx=wran", "sqlx", "=info", "info;debug"],
            ),
            (
                Kind::Version,
                vec!["v2.6.0", "v2.6.14-mishards", "v2.6.1-rc.1"],
                vec!["", "foo", "2.6.0", "v2.6", "v2.6.", "v2.6.x", "v2.5.0", "v2.6.0-", "v2.6.0 "],
            ),
            (
                Kind::Catalog,
                vec!["", "sqlite:x", "mysql://u:p@h:1/d"],
                vec!["x", "sqlite:", "mysql://h", "postgres://h/d"],
            ),
            (Kind::Members, vec!["", "a=h:1,b=h:2"], vec!["a", "a=h", "a=h:1,a=h:2"]),
        ] {
            for text in good {
                assert_eq!(kind.check(text), Ok(()));
            }
            for text in bad {
                assert!(kind.check(text).is_err(), "{}: {text:?}", kind.in_words());
            }
        }
    }

    #[test]
    fn what_is_refused_is_said_with_what_there_is() {
        let said = |kind: Kind, text: &str| kind.check(text).err().unwrap();
        assert_eq!(
            said(Kind::OneOf(|| vec!["text", "json"]), "jsn"),
            "must be text or json, not \"jsn\"; did you mean json?"
        );
        assert_eq!(
            said(Kind::OneOf(|| vec!["text", "json"]), "logfmt"),
            "must be text or json, not \"logfmt\""
        );
        let level = said(Kind::LogFilter, "info,sqlx=debg");
        assert!(
            level.contains("trace") && level.ends_with("not \"info,sqlx=debg\"; did you mean debug?"),
            "{level}"
        );
        let time = said(Kind::Duration { unit: "ms", min: Duration::ZERO }, "-1");
        assert!(time.contains("from 0 s to 365 d") && time.contains("a plain number means ms"), "{time}");
        let catalog = said(Kind::Catalog, "postgres://me:secret@h/d");
        assert!(!catalog.contains("secret") && catalog.contains("me:***@h/d"), "{catalog}");
    }
}
