//! Values of a configuration, taken out one by one, so that what nobody took is known by its name.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Any value of JSON5.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Null(()),
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// Shown as in a message: a list or an object by its kind alone.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null(()) => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{}", crate::digits::Js(*value)),
            Value::Text(value) => write!(f, "{value:?}"),
            Value::List(_) => f.write_str("a list"),
            Value::Object(_) => f.write_str("an object"),
        }
    }
}

/// An object whose keys are taken out; what is left in the end is unknown.
pub(super) struct Object {
    /// Where it stands, before its keys: `servers[0].`, or nothing.
    path: String,
    values: BTreeMap<String, Value>,
}

/// One line, which begins with the key.
pub(super) type Result<T> = std::result::Result<T, String>;

pub(super) fn wrong<T>(path: &str, expected: &str, found: &Value) -> Result<T> {
    Err(format!("{path}: must be {expected}, not {found}"))
}

impl Object {
    pub(super) fn new(path: &str, value: Value) -> Result<Object> {
        match value {
            Value::Object(values) => Ok(Object { path: path.to_owned(), values }),
            Value::Null(()) => Ok(Object { path: path.to_owned(), values: BTreeMap::new() }),
            other => wrong(path.trim_end_matches('.'), "an object, { key: value }", &other),
        }
    }

    /// The full name of a key.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// Takes a value out. `null` is as good as nothing.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key).filter(|value| *value != Value::Null(()))
    }

    /// Whether something else than JavaScript's false values (`0`, `''`, `false`, `null`) stands there: where the original
    /// writes `value || default`, these mean the default.
    pub(super) fn take_true(&mut self, key: &str) -> Option<Value> {
        self.take(key).filter(|value| match value {
            Value::Bool(value) => *value,
            Value::Number(value) => *value != 0.0,
            Value::Text(value) => !value.is_empty(),
            _ => true,
        })
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Object> {
        let path = format!("{}.", self.path(key));
        Object::new(&path, self.take_true(key).unwrap_or(Value::Null(())))
    }

    /// A list of objects; `None` without any.
    pub(super) fn objects(&mut self, key: &str) -> Result<Option<Vec<Object>>> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        let path = self.path(key);
        let each = |(at, value)| Object::new(&format!("{path}[{at}]."), value);
        list.into_iter().enumerate().map(each).collect::<Result<_>>().map(Some)
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>> {
        match self.take_true(key) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(other) => wrong(&self.path(key), "a list", &other),
        }
    }

    pub(super) fn bool(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(Value::Number(value)) if value == 0.0 || value == 1.0 => Ok(Some(value == 1.0)),
            Some(other) => wrong(&self.path(key), "true or false", &other),
        }
    }

    /// A string, an empty one too.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Text(value)) => Ok(Some(value)),
            Some(other) => wrong(&self.path(key), "a string", &other),
        }
    }

    /// A string that is not empty.
    pub(super) fn word(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        let each = |(at, value)| match value {
            Value::Text(value) => Ok(value),
            other => wrong(&format!("{}[{at}]", self.path(key)), "a string", &other),
        };
        list.into_iter().enumerate().map(each).collect::<Result<_>>().map(Some)
    }

    /// A port; 0 is as good as nothing.
    pub(super) fn port(&mut self, key: &str) -> Result<Option<u16>> {
        Ok(self.whole(key, "a port, 1 to 65535", 1.0, 65_535.0)?.map(|port| port as u16))
    }

    /// A whole number within these bounds; 0 is as good as nothing.
    pub(super) fn whole(&mut self, key: &str, expected: &str, least: f64, most: f64) -> Result<Option<f64>> {
        let Some(value) = self.take_true(key) else { return Ok(None) };
        match number(&value) {
            Some(number) if number.trunc() == number && (least..=most).contains(&number) => Ok(Some(number)),
            _ => wrong(&self.path(key), expected, &value),
        }
    }

    /// A path that is not empty.
    pub(super) fn file(&mut self, key: &str) -> Result<Option<PathBuf>> {
        Ok(self.word(key)?.map(PathBuf::from))
    }

    /// The full names of the keys that nobody took.
    pub(super) fn rest(self) -> impl Iterator<Item = String> {
        let path = self.path;
        self.values.into_keys().map(move |key| format!("{path}{key}"))
    }
}

/// A number, or a string that JavaScript would take for one where it needs one.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}
