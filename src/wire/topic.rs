//! Topic names and the patterns that choose among them.

use std::fmt;

/// The longest topic, bytes.
pub const MAX_TOPIC: usize = 255;

/// What is wrong with a topic or a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicError {
    /// No characters at all.
    Empty,
    /// Longer than [`MAX_TOPIC`] bytes.
    TooLong {
        /// How long it is, bytes.
        length: usize,
    },
    /// Two dots with nothing between them, or one at either end.
    EmptyLevel,
    /// `*` or `>` in a topic: those belong in a subscriber's pattern.
    Wildcard,
    /// `*` or `>` beside other characters in a level, or `>` before the last level.
    MisplacedWildcard,
    /// A space or a control character.
    Character {
        /// The character.
        character: char,
    },
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicError::Empty => f.write_str("the topic is empty; give it a name like prices.fx"),
            TopicError::TooLong { length } => {
                write!(f, "the topic has {length} bytes, and may have at most {MAX_TOPIC}")
            }
            TopicError::EmptyLevel => f.write_str(
                "the topic has an empty level; between and around dots there must be a name, as in prices.fx",
            ),
            TopicError::Wildcard => {
                f.write_str("a publisher's topic names one stream and can have no `*` or `>`")
            }
            TopicError::MisplacedWildcard => f.write_str(
                "`*` must be a whole level, and `>` the whole last one, as in prices.*.bid or prices.>",
            ),
            TopicError::Character { character } => {
                write!(
                    f,
                    "the topic has the character {character:?}; spaces and control characters are not allowed"
                )
            }
        }
    }
}

impl std::error::Error for TopicError {}

/// Whether `topic` can name a stream: levels separated by dots, none empty, no wildcard, at most 255 bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check(topic: &str) -> Result<(), TopicError> {
    check_levels(topic)?;
    if topic.contains(['*', '>']) { Err(TopicError::Wildcard) } else { Ok(()) }
}

/// Whether `pattern` can choose streams: a topic in which a level may be `*` (any one level) and the last one `>`
/// (all the rest, if there is any).
///
/// # Errors
/// What is wrong with it.
pub fn check_pattern(pattern: &str) -> Result<(), TopicError> {
    check_levels(pattern)?;
    let mut levels = pattern.split('.').peekable();
    while let Some(level) = levels.next() {
        let sound = match level {
            "*" => true,
            ">" => levels.peek().is_none(),
            name => !name.contains(['*', '>']),
        };
        if !sound {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

fn check_levels(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > MAX_TOPIC {
        return Err(TopicError::TooLong { length: topic.len() });
    }
    if topic.split('.').any(str::is_empty) {
        return Err(TopicError::EmptyLevel);
    }
    match topic.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(character) => Err(TopicError::Character { character }),
        None => Ok(()),
    }
}

/// Whether a pattern chooses a topic. `>` matches what is left, also nothing: `prices.>` chooses `prices`,
/// `prices.fx` and `prices.fx.eurusd`.
pub fn matches(pattern: &str, topic: &str) -> bool {
    let mut levels = topic.split('.');
    for wanted in pattern.split('.') {
        match (wanted, levels.next()) {
            (">", _) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (name, Some(level)) if name == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
