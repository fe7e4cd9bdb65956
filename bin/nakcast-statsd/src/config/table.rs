//! Tables of the collector's own configuration: each is declared once, and both read and shown as an example from that.

use super::units;
use crate::config::settings::Console;
use crate::line::Dialect;
use crate::output::console::Form;
use crate::output::graphite::Protocol;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use std::fmt::{self, Write};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
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
        #[serde(remote = "Self", deny_unknown_fields, default)]
        struct $name {
            $($(#[doc = $doc])+ $key: Option<$type>,)+
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                struct Keys;
                impl<'de> serde::de::Visitor<'de> for Keys {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a table of keys")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, keys: A) -> Result<$name, A::Error> {
                        // What is derived, which is no trait's here, and takes a list of values, too.
                        $name::deserialize(serde::de::value::MapAccessDeserializer::new(keys))
                    }
                }
                let table = deserializer.deserialize_any(Keys);
                table.map_err(|error| $crate::config::table::in_room(error, "it takes a table of keys"))
            }
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

/// The reader says only that it has no room for a number; this says what is taken there.
pub(super) fn in_room<E: Error>(error: E, takes: impl fmt::Display) -> E {
    let text = error.to_string();
    match text.starts_with("integer number overflowed")
        || text.starts_with("floating-point number overflowed")
    {
        true => E::custom(format_args!("{takes}, not a number that cannot be read")),
        false => error,
    }
}

/// Reads a value, in quotes or not, and says of what it does not take what it takes.
struct Scalar<T> {
    read: fn(&str) -> Result<T, String>,
    /// Whether it must stand in quotes.
    quoted: bool,
}

impl<T> Scalar<T> {
    fn read<E: Error>(self, text: &str, shown: impl fmt::Display) -> Result<T, E> {
        (self.read)(text).map_err(|takes| E::custom(format_args!("{takes}, not {shown}")))
    }

    /// What is not in quotes.
    fn bare<E: Error>(self, value: impl fmt::Display) -> Result<T, E> {
        match self.quoted {
            true => self.not(value),
            false => self.read(&value.to_string(), &value),
        }
    }

    fn not<V, E: Error>(self, shown: impl fmt::Display) -> Result<V, E> {
        Err(E::custom(format_args!("{self}, not {shown}")))
    }
}

impl<T> fmt::Display for Scalar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What reads it knows what it takes, and says so of what it cannot take; whatever takes everything takes a string.
        f.write_str(&(self.read)("\0").err().unwrap_or_else(|| "it takes a string, in quotes".into()))
    }
}

impl<'de, T> Visitor<'de> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another value: {self}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.read(text, format_args!("{text:?}"))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        self.bare(value)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.bare(number)
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<T, E> {
        self.bare(number)
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<T, E> {
        self.bare(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.bare(number)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        self.not("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        self.not("a table or a date")
    }
}

/// A list.
#[derive(Debug)]
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Many<T>, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Many<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(LIST)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Many(values))
            }
            fn visit_i128<E: Error>(self, _: i128) -> Result<Many<T>, E> {
                Err(E::invalid_type(Unexpected::Other("integer beyond all bounds"), &self))
            }
        }
        let list = deserializer.deserialize_any(List(PhantomData));
        list.map_err(|error| in_room(error, format_args!("it takes {LIST}")))
    }
}

const LIST: &str = "a list: values between [ and ], or tables, each under its name between [[ and ]]";

macro_rules! values {
    (quoted: $quoted:literal; $($(#[$about:meta])+ $name:ident($type:ty) = $read:path;)+) => {$(
        $(#[$about])+
        #[derive(Clone, Debug)]
        pub(super) struct $name(pub(super) $type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let scalar = || Scalar { read: $read, quoted: $quoted };
                let value = deserializer.deserialize_any(scalar());
                value.map($name).map_err(|error| in_room(error, scalar()))
            }
        }
    )+};
}

values! {
    quoted: true;
    /// A path.
    File(PathBuf) = units::path;
    /// An interface's name or address.
    Interface(String) = units::interface;
    /// Any text, also an empty one.
    Text(String) = units::text;
    /// Part of a name.
    Affix(String) = units::affix;
    /// What InfluxDB knows the collector by.
    Token(String) = units::token;
}

// As they are written behind a flag: `10` is as good as `"10"`.
values! {
    quoted: false;
    /// Whether.
    Flag(bool) = units::flag;
    /// A flush interval.
    Interval(Duration) = units::interval;
    /// A number of bytes.
    Bytes(usize) = units::bytes;
    /// An address to listen for datagrams at.
    Address(SocketAddr) = units::listen;
    /// An address to take connections at.
    Takes(SocketAddr) = units::place;
    /// A multicast group.
    Group(SocketAddr) = units::group;
    /// A percentile.
    Percentile(f64) = units::percentile;
    /// A bin's upper bound.
    Bound(f64) = units::bound;
    /// A server to connect to, `HOST:PORT`.
    Server(String) = units::server;
    /// A server or a multicast group, `HOST:PORT`.
    ServerOrGroup(String) = units::server_or_group;
    /// How many there may be.
    Count(u32) = units::count;
    /// How many there may be, one at least.
    AtLeastOne(u32) = units::some;
    /// What is told of timers.
    Statistic(String) = units::statistic;
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
