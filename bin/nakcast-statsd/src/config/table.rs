//! Tables of the collector's own configuration: each is declared once, and both read and shown as an example from that.

use super::units;
use crate::config::settings::Console;
use crate::line::Dialect;
use crate::output::console::Form;
use crate::output::graphite::Protocol;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// A key, as it is documented.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) about: &'static [&'static str],
    pub(super) shown: Shown,
}

/// What a key has in the example.
pub(super) enum Shown {
    /// Its default.
    Is(&'static str),
    /// A value it may have; by default it has none.
    Like(&'static str),
    /// Keys of its own, with their defaults.
    Table(&'static [Key]),
    /// Keys of its own, which are not there by default.
    Optional(&'static [Key]),
    /// Any number of such tables, of which none is there by default.
    List(&'static [Key]),
}

/// Declares a table: each key with what it is for, its type, and what the example shows.
macro_rules! table {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $shown:ident $value:expr;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct $name {
            $($(#[doc = $doc])+ $key: Option<$type>,)+
        }

        impl $name {
            const KEYS: &'static [$crate::config::table::Key] = &[$($crate::config::table::Key {
                name: stringify!($key),
                about: &[$($doc),+],
                shown: $crate::config::table::Shown::$shown($value),
            }),+];
        }
    };
}
pub(super) use table;

/// Writes keys as an example, commented out where `mark` is `"# "`. Tables come behind all other keys, as TOML has it.
pub(super) fn show(text: &mut String, path: &str, keys: &[Key], mark: &str) -> fmt::Result {
    for key in keys {
        let (mark, value) = match key.shown {
            Shown::Is(value) => (mark, value),
            Shown::Like(value) => ("# ", value),
            _ => continue,
        };
        about(text, key)?;
        writeln!(text, "{mark}{} = {value}\n", key.name)?;
    }
    for key in keys {
        let (mark, open, close, keys) = match key.shown {
            Shown::Table(keys) => (mark, "[", "]", keys),
            Shown::Optional(keys) => ("# ", "[", "]", keys),
            Shown::List(keys) => ("# ", "[[", "]]", keys),
            _ => continue,
        };
        about(text, key)?;
        let path = format!("{path}{}", key.name);
        writeln!(text, "{mark}{open}{path}{close}\n")?;
        show(text, &format!("{path}."), keys, mark)?;
    }
    Ok(())
}

fn about(text: &mut String, key: &Key) -> fmt::Result {
    key.about.iter().try_for_each(|line| writeln!(text, "#{line}"))
}

/// Reads a value that a flag may have, too, as it is written there: `10` is as good as `"10"`.
fn scalar<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Scalar<T>(fn(&str) -> Result<T, String>);
    impl<T> Scalar<T> {
        fn read<E: Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(|takes| E::custom(format_args!("{takes}, not {text:?}")))
        }
    }
    impl<T> Visitor<'_> for Scalar<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // What reads it knows what it takes, and says so of what it cannot take.
            f.write_str(&(self.0)("\0").err().unwrap_or_default())
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            self.read(text)
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            self.read(&number.to_string())
        }
        fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
            self.read(&number.to_string())
        }
    }
    deserializer.deserialize_any(Scalar(read))
}

macro_rules! values {
    ($($(#[$about:meta])+ $name:ident($type:ty) = $read:path;)+) => {$(
        $(#[$about])+
        #[derive(Clone, Debug)]
        pub(super) struct $name(pub(super) $type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                scalar(deserializer, $read).map($name)
            }
        }
    )+};
}

values! {
    /// A flush interval.
    Interval(Duration) = units::interval;
    /// A number of bytes.
    Bytes(usize) = units::bytes;
    /// An address to listen at.
    Address(SocketAddr) = units::listen;
    /// A multicast group.
    Group(SocketAddr) = units::group;
    /// A percentile.
    Percentile(f64) = units::percentile;
    /// A bin's upper bound.
    Bound(f64) = units::bound;
    /// A server, `HOST:PORT`.
    Server(String) = units::server;
    /// How many there may be.
    Count(u32) = units::count;
    /// How many flushes.
    Life(u32) = units::life;
    /// How many threads.
    Threads(u32) = units::threads;
    /// A file's mode.
    Mode(u32) = units::mode;
    /// What signs of gauges mean.
    Signs(Dialect) = units::dialect;
    /// How flushes are shown.
    Format(Console) = units::console;
    /// How flushes are shown in a file.
    Shape(Form) = units::form;
    /// Where HTTP goes to.
    Url(String) = units::url;
    /// How Graphite is spoken to.
    Spoken(Protocol) = units::protocol;
    /// Whether Graphite's names are the old ones.
    Legacy(bool) = units::namespace;
}
