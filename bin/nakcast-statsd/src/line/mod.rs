//! Datagrams, lines and what stands in them, as views into the bytes that came: nothing is allocated here.
//!
//! [`read`] cuts a datagram, reads its lines and tells a [`Sink`] what is in them. A line with one value and no optional field,
//! as most are, takes a short way, on which its end is not looked for beforehand.

mod datadog;
mod number;

pub use datadog::{Check, Event};
pub use number::decimal;

use crate::name;
use memchr::{memchr, memchr2, memmem};
use std::fmt;

/// What a series is aggregated as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `c` and `m`: added up over the interval.
    Counter,
    /// `g`: the last value.
    Gauge,
    /// `ms`, `h` and `d`: the distribution of the values over the interval.
    Timer,
    /// `s`: how many distinct members there were in the interval.
    Set,
}

/// What a listener takes the sign of a gauge for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// A leading `+` or `-` makes it a change to the present value.
    #[default]
    Statsd,
    /// A sign is that of the value, as Datadog's clients mean it.
    Datadog,
}

/// What a series is known by, as it came: not cleaned, tags in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// What stands before the first `:`; never one that is empty when it is cleaned.
    pub name: &'a [u8],
    /// What stands in the `|#` field; empty without one.
    pub tags: &'a [u8],
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample<'a> {
    /// To be added to a counter; scaled by the rate already.
    Count(f64),
    /// What a gauge is from now on.
    Level(f64),
    /// What a gauge changes by.
    Change(f64),
    /// A timer's value in milliseconds (`ms`), and how many it stands for: 1 / rate.
    Time(f64, f64),
    /// A timer's value in whatever unit (`h` and `d`), and how many it stands for.
    Value(f64, f64),
    /// A member of a set, never empty.
    Member(&'a [u8]),
}

impl Sample<'_> {
    /// What it is aggregated as.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Sample::Count(_) => Kind::Counter,
            Sample::Level(_) | Sample::Change(_) => Kind::Gauge,
            Sample::Time(..) | Sample::Value(..) => Kind::Timer,
            Sample::Member(_) => Kind::Set,
        }
    }
}

/// What is wrong with a line, or with one element of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Nothing is left of the name once it is cleaned, or there is no `:` behind it.
    Name,
    /// No type, or one that nobody knows.
    Type,
    /// No finite decimal number; or none at all.
    Value,
    /// A negative time.
    Negative,
    /// A rate that is no plain decimal number in (0, 1].
    Rate,
    /// A time stamp that is no positive whole number.
    Timestamp,
    /// An event whose lengths do not hold.
    Event,
    /// A service check without name, or without a status from 0 to 3.
    Check,
    /// On a stream: more bytes than any line may have.
    Long,
    /// On a stream: the connection's end before the line's.
    Unfinished,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bad::Name => "no name before a `:`",
            Bad::Type => "no type of c, g, ms, h, d, s, m",
            Bad::Value => "no finite decimal value",
            Bad::Negative => "a time below 0",
            Bad::Rate => "no rate above 0 and up to 1",
            Bad::Timestamp => "no time stamp above 0",
            Bad::Event => "no event whose lengths hold",
            Bad::Check => "no service check with a name and a status from 0 to 3",
            Bad::Long => "no end of the line within 64 KiB",
            Bad::Unfinished => "no line feed before the connection's end",
        })
    }
}

/// Where what is read goes.
pub trait Sink {
    /// A value to be aggregated.
    fn sample(&mut self, key: Key<'_>, sample: Sample<'_>);
    /// A value of its own time, in seconds since 1970, which is not aggregated.
    fn timestamped(&mut self, key: Key<'_>, sample: Sample<'_>, seconds: u64);
    /// An event.
    fn event(&mut self, event: &Event<'_>);
    /// A service check.
    fn check(&mut self, check: &Check<'_>);
    /// A bad line, or a bad element of one.
    fn bad(&mut self, line: &[u8], why: Bad);
    /// A field that nobody knows, and that is left out of account.
    fn unknown_field(&mut self);
}

/// Reads the lines of a datagram: what line feeds separate, without a carriage return at the end, and none that is blank. Tells
/// `sink` what is in them, and returns how many there are.
#[inline]
pub fn read(datagram: &[u8], dialect: Dialect, sink: &mut impl Sink) -> u64 {
    let (mut rest, mut lines) = (datagram, 0);
    while !rest.is_empty() {
        if let Some((key, sample, behind)) = short(rest, dialect) {
            lines += 1;
            rest = behind;
            sink.sample(key, sample);
            continue;
        }
        let (line, behind) = match memchr(b'\n', rest) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &[][..]),
        };
        rest = behind;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            lines += 1;
            read_line(line, dialect, sink);
        }
    }
    lines
}

/// A line at the beginning that is a name, one short number and its type, and what stands behind the line; `None` for any
/// other, good or bad.
#[inline]
fn short(lines: &[u8], dialect: Dialect) -> Option<(Key<'_>, Sample<'static>, &[u8])> {
    let (name, rest) = lines.split_at(memchr2(b':', b'\n', lines)?);
    // What begins with `_` may be no metric.
    if matches!(name, [] | [b'_', ..]) || name::is_empty(name) {
        return None;
    }
    let value = rest.strip_prefix(b":")?;
    let (number, length) = number::short(value)?;
    let (kind, rest) = match value[length..].strip_prefix(b"|")? {
        [b'm', b's', rest @ ..] => (Type::Time, rest),
        [b'c' | b'm', rest @ ..] => (Type::Counter, rest),
        [b'g', rest @ ..] => (Type::Gauge, rest),
        [b'h' | b'd', rest @ ..] => (Type::Distribution, rest),
        _ => return None,
    };
    let behind = match rest {
        [] => rest,
        [b'\n', behind @ ..] | [b'\r', b'\n', behind @ ..] => behind,
        _ => return None,
    };
    Some((Key { name, tags: &[] }, kind.sample(number, value, 1.0, dialect)?, behind))
}

fn read_line(line: &[u8], dialect: Dialect, sink: &mut impl Sink) {
    let Some(colon) = memchr(b':', line) else { return read_other(line, sink) };
    let (name, rest) = (&line[..colon], &line[colon + 1..]);
    if name.first() == Some(&b'_') && datadog::is_meant(line) {
        return read_other(line, sink);
    }
    if name::is_empty(name) {
        return sink.bad(line, Bad::Name);
    }
    Elements { line, key: Key { name, tags: tags(rest) }, dialect, sink }.read(rest);
}

/// A line that is no metric.
#[cold]
fn read_other(line: &[u8], sink: &mut impl Sink) {
    if line.starts_with(b"_e{") {
        match Event::read(line) {
            Some((event, unknown)) => {
                (0..unknown).for_each(|_| sink.unknown_field());
                sink.event(&event);
            }
            None => sink.bad(line, Bad::Event),
        }
    } else if line.starts_with(b"_sc|") {
        match Check::read(line) {
            Some((check, unknown)) => {
                (0..unknown).for_each(|_| sink.unknown_field());
                sink.check(&check);
            }
            None => sink.bad(line, Bad::Check),
        }
    } else {
        sink.bad(line, Bad::Name);
    }
}

/// The tags field, the last if there are several.
fn tags(rest: &[u8]) -> &[u8] {
    let Some(at) = memmem::rfind(rest, b"|#") else { return &[] };
    let tags = &rest[at + 2..];
    &tags[..memchr(b'|', tags).unwrap_or(tags.len())]
}

/// A type as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Counter,
    Gauge,
    /// `ms`, which is a duration and cannot be negative.
    Time,
    /// `h` and `d`, which can.
    Distribution,
    Set,
}

impl Type {
    #[inline]
    fn of(text: &[u8]) -> Option<Type> {
        Some(match text {
            b"c" | b"m" => Type::Counter,
            b"g" => Type::Gauge,
            b"ms" => Type::Time,
            b"h" | b"d" => Type::Distribution,
            b"s" => Type::Set,
            _ => return None,
        })
    }

    /// A good numeric value; `None` for any other, and for a set's.
    #[inline]
    fn number(self, value: &[u8], rate: f64, dialect: Dialect) -> Option<Sample<'static>> {
        self.sample(decimal(value)?, value, rate, dialect)
    }

    /// Of a number, and how it is written.
    #[inline]
    fn sample(self, number: f64, value: &[u8], rate: f64, dialect: Dialect) -> Option<Sample<'static>> {
        Some(match self {
            // In the original's order of operations, so that the digits agree.
            Type::Counter => Sample::Count(number * (1.0 / rate)),
            Type::Gauge if dialect == Dialect::Statsd && matches!(value[0], b'+' | b'-') => {
                Sample::Change(number)
            }
            Type::Gauge => Sample::Level(number),
            Type::Time if number < 0.0 => return None,
            Type::Time => Sample::Time(number, 1.0 / rate),
            Type::Distribution => Sample::Value(number, 1.0 / rate),
            Type::Set => return None,
        })
    }
}

/// A value with what belongs to it, before it is told.
struct Element<'a> {
    values: &'a [u8],
    kind: Option<Type>,
    rate: f64,
    timestamp: Option<u64>,
    bad: Option<Bad>,
}

impl<'a> Element<'a> {
    fn new(values: &'a [u8]) -> Element<'a> {
        Element { values, kind: None, rate: 1.0, timestamp: None, bad: None }
    }
}

/// The elements of a line, taken field by field.
struct Elements<'a, S> {
    line: &'a [u8],
    key: Key<'a>,
    dialect: Dialect,
    sink: &'a mut S,
}

impl<'a, S: Sink> Elements<'a, S> {
    fn read(mut self, rest: &'a [u8]) {
        let mut fields = rest.split(|&byte| byte == b'|');
        let mut element = Element::new(fields.next().unwrap_or_default());
        let mut typed = false;
        for field in fields {
            // The original's way to pack: a `:` behind the type, the rate or the time begins the next value.
            let (field, next) = match memchr(b':', field) {
                Some(at) if !typed || matches!(field.first(), Some(b'@' | b'T')) => {
                    (&field[..at], Some(&field[at + 1..]))
                }
                _ => (field, None),
            };
            if typed {
                self.option(field, &mut element);
            } else {
                element.kind = Type::of(field);
                typed = true;
            }
            if let Some(values) = next {
                self.tell(&element);
                element = Element::new(values);
                typed = false;
            }
        }
        self.tell(&element);
    }

    fn option(&mut self, field: &[u8], element: &mut Element<'_>) {
        match field {
            [b'@', rate @ ..] => match number::rate(rate) {
                Some(rate) => element.rate = rate,
                None => element.bad = Some(Bad::Rate),
            },
            [b'T', seconds @ ..] => match number::whole(seconds).filter(|&seconds| seconds > 0) {
                Some(seconds) => element.timestamp = Some(seconds),
                None => element.bad = Some(Bad::Timestamp),
            },
            // Tags are those of the line; a container is known, and says nothing that is used here.
            [b'#', ..] | [b'c', b':', ..] => {}
            _ => self.sink.unknown_field(),
        }
    }

    fn tell(&mut self, element: &Element<'_>) {
        let Some(kind) = element.kind else { return self.sink.bad(self.line, Bad::Type) };
        if let Some(bad) = element.bad {
            return self.sink.bad(self.line, bad);
        }
        if kind == Type::Set {
            if element.values.is_empty() {
                return self.sink.bad(self.line, Bad::Value);
            }
            return self.give(Sample::Member(element.values), element.timestamp);
        }
        for value in element.values.split(|&byte| byte == b':') {
            match kind.number(value, element.rate, self.dialect) {
                Some(sample) => self.give(sample, element.timestamp),
                None => {
                    let negative = kind == Type::Time && decimal(value).is_some();
                    self.sink.bad(self.line, if negative { Bad::Negative } else { Bad::Value });
                }
            }
        }
    }

    fn give(&mut self, sample: Sample<'_>, timestamp: Option<u64>) {
        match timestamp {
            None => self.sink.sample(self.key, sample),
            Some(seconds) => self.sink.timestamped(self.key, sample, seconds),
        }
    }
}
