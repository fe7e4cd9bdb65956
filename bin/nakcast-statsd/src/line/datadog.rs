//! DogStatsD's events and service checks.

use super::number::whole;
use memchr::memchr;

/// An event. Texts are as they came; `\n` in them is an escape for a line feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its title.
    pub title: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// When it was, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// The host it came from.
    pub hostname: Option<&'a [u8]>,
    /// What it is grouped by.
    pub aggregation_key: Option<&'a [u8]>,
    /// `normal` or `low`.
    pub priority: Option<&'a [u8]>,
    /// What kind of source it has.
    pub source: Option<&'a [u8]>,
    /// `error`, `warning`, `info` or `success`.
    pub alert: Option<&'a [u8]>,
    /// Its tags, separated by commas.
    pub tags: &'a [u8],
}

/// A service check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Check<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// 0 ok, 1 warning, 2 critical, 3 unknown.
    pub status: u8,
    /// When it was, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// The host it came from.
    pub hostname: Option<&'a [u8]>,
    /// What is to be said about the status.
    pub message: Option<&'a [u8]>,
    /// Its tags, separated by commas.
    pub tags: &'a [u8],
}

/// Whether a line is one of these rather than a metric.
pub(super) fn is_meant(line: &[u8]) -> bool {
    line.starts_with(b"_e{") || line.starts_with(b"_sc|")
}

impl<'a> Event<'a> {
    /// Reads `_e{title's bytes,text's bytes}:title|text|...`, and tells how many fields were unknown.
    pub(super) fn read(line: &'a [u8]) -> Option<(Event<'a>, usize)> {
        let rest = line.strip_prefix(b"_e{")?;
        let (lengths, rest) = rest.split_at_checked(memchr(b'}', rest)?)?;
        let (title_bytes, text_bytes) = lengths.split_at_checked(memchr(b',', lengths)?)?;
        let title_bytes = usize::try_from(whole(title_bytes)?).ok().filter(|&bytes| bytes > 0)?;
        let text_bytes = usize::try_from(whole(&text_bytes[1..])?).ok()?;
        let (title, rest) = rest.strip_prefix(b"}:")?.split_at_checked(title_bytes)?;
        let (text, rest) = rest.strip_prefix(b"|")?.split_at_checked(text_bytes)?;
        let mut event = Event { title, text, ..Event::default() };
        let mut unknown = 0;
        for field in fields(rest)? {
            match field {
                [b'd', b':', seconds @ ..] => event.timestamp = Some(whole(seconds)?),
                [b'h', b':', name @ ..] => event.hostname = Some(name),
                [b'k', b':', key @ ..] => event.aggregation_key = Some(key),
                [b'p', b':', priority @ ..] => event.priority = Some(priority),
                [b's', b':', source @ ..] => event.source = Some(source),
                [b't', b':', alert @ ..] => event.alert = Some(alert),
                [b'#', tags @ ..] => event.tags = tags,
                [b'c', b':', ..] => {}
                _ => unknown += 1,
            }
        }
        Some((event, unknown))
    }
}

impl<'a> Check<'a> {
    /// Reads `_sc|name|status|...`, and tells how many fields were unknown.
    pub(super) fn read(line: &'a [u8]) -> Option<(Check<'a>, usize)> {
        let rest = line.strip_prefix(b"_sc|")?;
        let (name, rest) = rest.split_at_checked(memchr(b'|', rest)?)?;
        let (status, rest) =
            rest[1..].split_at_checked(memchr(b'|', &rest[1..]).unwrap_or(rest.len() - 1))?;
        let status = match status {
            [digit @ b'0'..=b'3'] => digit - b'0',
            _ => return None,
        };
        if name.is_empty() {
            return None;
        }
        let mut check = Check { name, status, ..Check::default() };
        let mut unknown = 0;
        for field in fields(rest)? {
            match field {
                [b'd', b':', seconds @ ..] => check.timestamp = Some(whole(seconds)?),
                [b'h', b':', name @ ..] => check.hostname = Some(name),
                [b'm', b':', message @ ..] => check.message = Some(message),
                [b'#', tags @ ..] => check.tags = tags,
                [b'c', b':', ..] => {}
                _ => unknown += 1,
            }
        }
        Some((check, unknown))
    }
}

/// The optional fields, each behind its `|`; `None` when something else comes first.
fn fields(rest: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut fields = rest.split(|&byte| byte == b'|');
    fields.next().filter(|before| before.is_empty())?;
    Some(fields)
}
