//! Names and tags: cleaned on the way in, so that what comes out equal is one series.

use std::fmt::Write;

/// A series' identity: its cleaned name, and its tags sorted by key (then by value), without repetitions. Shown as Graphite
/// writes it, `name;key=value;key=value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    text: Box<str>,
    /// Bytes of `text` that are the name.
    name: u32,
}

impl Identity {
    /// Cleans a name and its tags as they came: `name` may hold tags as InfluxDB (`name,k=v`), Graphite (`name;k=v`),
    /// SignalFx (`name[k=v]`) or Librato (`name#k=v`) write them, and `tags` are DogStatsD's, `k:v,k:v,bare`. A bare tag has
    /// the value `true`; one without key, or whose value is empty, is dropped. `None` when nothing is left of the name.
    #[must_use]
    pub fn new(name: &[u8], tags: &[u8]) -> Option<Identity> {
        let mut text = String::with_capacity(name.len() + tags.len() + 1);
        let (before, inner, after) = split(name);
        clean_into(&mut text, before);
        clean_into(&mut text, after);
        if text.is_empty() {
            return None;
        }
        let length = u32::try_from(text.len()).ok()?;
        let mut pairs = Vec::new();
        pairs.extend(inner.split(|byte| matches!(byte, b',' | b';')).filter_map(|tag| pair(tag, b'=')));
        pairs.extend(tags.split(|&byte| byte == b',').filter_map(|tag| pair(tag, b':')));
        pairs.sort();
        pairs.dedup();
        for (key, value) in &pairs {
            // Writing to a string does not fail.
            let _ = write!(text, ";{key}={value}");
        }
        Some(Identity { text: text.into(), name: length })
    }

    /// Name and tags, as shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name alone.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..self.name as usize]
    }

    /// The tags, `;k=v;k=v`; empty without any.
    #[must_use]
    pub fn suffix(&self) -> &str {
        &self.text[self.name as usize..]
    }

    /// The tags, sorted.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.suffix().split(';').skip(1).filter_map(|tag| tag.split_once('='))
    }
}

/// The name's part before its tags, the tags, and the name's part behind them.
fn split(name: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let Some(at) = name.iter().position(|byte| matches!(byte, b',' | b';' | b'[' | b'#')) else {
        return (name, &[], &[]);
    };
    let (before, rest) = (&name[..at], &name[at + 1..]);
    if name[at] != b'[' {
        return (before, rest, &[]);
    }
    match rest.iter().position(|&byte| byte == b']') {
        Some(end) => (before, &rest[..end], &rest[end + 1..]),
        // A bracket that nothing closes begins no tags.
        None => (before, &[], rest),
    }
}

/// What becomes of a character in a cleaned name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Byte {
    Kept,
    Space,
    Slash,
    Dropped,
}

fn place(letter: char) -> Byte {
    match letter {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '.' | '-' | '=' => Byte::Kept,
        '/' => Byte::Slash,
        // What the original's `\s` is: Unicode's white space, but for one more and one less.
        '\u{85}' => Byte::Dropped,
        '\u{feff}' => Byte::Space,
        letter if letter.is_whitespace() => Byte::Space,
        _ => Byte::Dropped,
    }
}

/// Whether nothing is left of a name when it is cleaned. Mostly the first byte says no.
#[must_use]
#[inline]
pub fn is_empty(name: &[u8]) -> bool {
    if name.first().is_some_and(|&byte| PLAIN[usize::from(byte)]) {
        return false;
    }
    let (before, _, after) = split(name);
    let is_dropped = |part: &[u8]| letters(part).all(|letter| place(letter) == Byte::Dropped);
    is_dropped(before) && is_dropped(after)
}

/// A name that is its own cleaned form, without the tags behind it; `None` when more is to be done to know that form.
#[inline]
pub(crate) fn plain(name: &[u8]) -> Option<&[u8]> {
    if is_all_plain(name) {
        return Some(name);
    }
    let end = name.iter().position(|&byte| !PLAIN[usize::from(byte)]).unwrap_or(name.len());
    let is_end = name.get(end).is_none_or(|byte| matches!(byte, b',' | b';' | b'#'));
    (is_end && end > 0).then_some(&name[..end])
}

/// Whether there is something, and nothing that cleaning does not keep. Sixteen bytes are looked at together, the last of them
/// perhaps again.
#[inline]
fn is_all_plain(name: &[u8]) -> bool {
    let is_plain_all = |bytes: &[u8; 16]| bytes.iter().fold(true, |all, &byte| all & is_plain(byte));
    match (name.as_chunks::<16>().0, name.last_chunk::<16>()) {
        (chunks, Some(last)) => chunks.iter().all(is_plain_all) && is_plain_all(last),
        (_, None) => !name.is_empty() && name.iter().all(|&byte| PLAIN[usize::from(byte)]),
    }
}

/// Whether cleaning keeps a byte.
#[inline]
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'_') | (byte == b'.') | (byte == b'-') | (byte == b'=')
}

/// Bytes that cleaning keeps.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        plain[byte] = is_plain(byte as u8);
        byte += 1;
    }
    plain
};

/// The characters of what is UTF-8; what is not has none.
fn letters(bytes: &[u8]) -> impl Iterator<Item = char> {
    bytes.utf8_chunks().flat_map(|chunk| chunk.valid().chars())
}

/// A run of whitespace becomes one `_`, `/` becomes `-`, and what is not `[A-Za-z0-9_.=-]` is dropped; a `;` too, which
/// would begin a tag.
fn clean_into(text: &mut String, name: &[u8]) {
    let mut before = Byte::Kept;
    for letter in letters(name) {
        let place = place(letter);
        match place {
            Byte::Kept => text.push(letter),
            Byte::Space if before != Byte::Space => text.push('_'),
            Byte::Slash => text.push('-'),
            Byte::Space | Byte::Dropped => {}
        }
        before = place;
    }
}

/// A tag's cleaned key and value: of the key what a name may have but `=`; of the value all that is neither whitespace,
/// control character nor `;`, and UTF-8.
fn pair(tag: &[u8], separator: u8) -> Option<(String, String)> {
    let tag = tag.trim_ascii();
    let at = tag.iter().position(|&byte| byte == separator);
    let (key, value) = at.map_or((tag, None), |at| (&tag[..at], Some(&tag[at + 1..])));
    let mut clean = String::with_capacity(key.len());
    clean_into(&mut clean, key);
    clean.retain(|letter| letter != '=');
    let value = match value {
        None => "true".into(),
        Some(value) => clean_value(value),
    };
    (!clean.is_empty() && !value.is_empty()).then_some((clean, value))
}

fn clean_value(value: &[u8]) -> String {
    let mut clean = String::with_capacity(value.len());
    let mut space = false;
    for letter in letters(value) {
        match letter {
            letter if letter.is_whitespace() && !space => clean.push('_'),
            letter if letter == ';' || letter.is_whitespace() || letter.is_control() => {}
            letter => clean.push(letter),
        }
        space = letter.is_whitespace();
    }
    clean
}

/// A name for Prometheus: `_` for what is not `[a-zA-Z0-9_:]`, and before a leading digit.
#[must_use]
pub fn prometheus(name: &str) -> String {
    let mut clean = String::with_capacity(name.len() + 1);
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        clean.push('_');
    }
    clean.extend(name.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | ':' => letter,
        _ => '_',
    }));
    clean
}
