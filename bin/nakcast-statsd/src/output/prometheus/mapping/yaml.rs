//! Values of a YAML document, each with its line and its path, so that whatever is wrong is named.

use saphyr::{MarkedYaml, YamlData, YamlLoader};
use saphyr_parser::Parser;

/// `LINE: PATH: problem`.
pub(super) type Result<T> = std::result::Result<T, String>;

/// A value, and where it stands.
pub(super) struct Node<'n> {
    path: String,
    value: &'n MarkedYaml<'n>,
}

/// A mapping whose keys are taken out; what is left in the end is unknown.
pub(super) struct Table<'n> {
    path: String,
    line: usize,
    values: Vec<(String, usize, &'n MarkedYaml<'n>)>,
    asked: Vec<&'static str>,
}

/// Reads the text of a document, scalars as they are written.
pub(super) fn load(text: &str) -> Result<Option<MarkedYaml<'_>>> {
    let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
    loader.early_parse(false);
    let loaded = Parser::new_from_str(text).load(&mut loader, true);
    if let Some(error) = loaded.err().as_ref().or(loader.error()) {
        let line = error.marker().line();
        let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let is_star = written.split([' ', '[', ',', '{']).any(|word| word.starts_with('*'));
        let hint = if is_star { "; what begins with * must be in quotes, as in \"*.latency\"" } else { "" };
        return Err(format!("{line}: not YAML: {}{hint}", error.info()));
    }
    let mut documents = loader.into_documents();
    match documents.len() {
        0 | 1 => Ok(documents.pop()),
        _ => {
            let line = documents[1].span.start.line();
            Err(format!("{line}: a second document begins; it takes one"))
        }
    }
}

impl<'n> Node<'n> {
    pub(super) fn new(path: &str, value: &'n MarkedYaml<'n>) -> Node<'n> {
        Node { path: path.to_owned(), value }
    }

    pub(super) fn line(&self) -> usize {
        self.value.span.start.line()
    }

    /// What is wrong with it, in one line.
    pub(super) fn problem(&self, problem: &str) -> String {
        let colon = if self.path.is_empty() { "" } else { ": " };
        format!("{}: {}{colon}{problem}", self.line(), self.path)
    }

    fn wrong<T>(&self, expected: &str) -> Result<T> {
        let found = match &self.value.data {
            YamlData::Representation(text, _, _) => format!("{text:?}"),
            YamlData::Sequence(_) => "a list".into(),
            YamlData::Mapping(_) => "a mapping".into(),
            _ => "something else".into(),
        };
        Err(self.problem(&format!("must be {expected}, not {found}")))
    }

    /// Nothing, as it is written.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value.data, YamlData::Representation(text, style, None)
            if *style == saphyr::ScalarStyle::Plain && matches!(&**text, "" | "~" | "null"))
    }

    /// A scalar, as it is written.
    pub(super) fn text(&self) -> Result<&'n str> {
        match &self.value.data {
            YamlData::Representation(text, _, _) => Ok(text),
            _ => self.wrong("a string"),
        }
    }

    /// A finite number.
    pub(super) fn number(&self, expected: &str, takes: impl Fn(f64) -> bool) -> Result<f64> {
        let text = match &self.value.data {
            YamlData::Representation(text, _, _) => text,
            _ => return self.wrong(expected),
        };
        match text.parse::<f64>() {
            Ok(number) if takes(number) => Ok(number),
            _ => self.wrong(expected),
        }
    }

    /// A boolean, also as YAML 1.1 has them, which the statsd_exporter reads.
    pub(super) fn bool(&self) -> Result<bool> {
        match self.text()? {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => Ok(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => Ok(false),
            _ => self.wrong("true or false"),
        }
    }

    /// One of these words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)], expected: &str) -> Result<T> {
        let text = self.text()?;
        match words.iter().find(|(word, _)| *word == text) {
            Some(&(_, value)) => Ok(value),
            None => self.wrong(expected),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<Node<'n>>> {
        match &self.value.data {
            YamlData::Sequence(values) => {
                let each = |(at, value)| Node { path: format!("{}[{at}]", self.path), value };
                Ok(values.iter().enumerate().map(each).collect())
            }
            _ => self.wrong("a list"),
        }
    }

    /// Keys and values, in their order.
    pub(super) fn table(&self) -> Result<Table<'n>> {
        let YamlData::Mapping(pairs) = &self.value.data else { return self.wrong("a mapping") };
        let mut values: Vec<(String, usize, _)> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let line = key.span.start.line();
            let YamlData::Representation(text, _, _) = &key.data else {
                return Err(format!("{line}: {}: a key must be a string", self.path));
            };
            if values.iter().any(|(known, _, _)| known == text) {
                return Err(format!("{line}: {}: it is there twice", join(&self.path, text)));
            }
            values.push((text.to_string(), line, value));
        }
        Ok(Table { path: self.path.clone(), line: self.line(), values, asked: Vec::new() })
    }
}

impl<'n> Table<'n> {
    /// Takes a value out; nothing is as good as none.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node<'n>> {
        self.asked.push(key);
        let at = self.values.iter().position(|(known, _, _)| known == key)?;
        let (_, _, value) = self.values.remove(at);
        Some(Node { path: join(&self.path, key), value }).filter(|node| !node.is_null())
    }

    /// That a key must be there, and is not. Asked for before [`Table::end`] and told behind it: a key that is misspelled is what
    /// is wrong, rather than the one it is not.
    pub(super) fn missing(&self, key: &'static str) -> String {
        format!("{}: {}: it must be there, and is not", self.line, join(&self.path, key))
    }

    /// All that is left, in its order.
    pub(super) fn all(self) -> impl Iterator<Item = (String, Node<'n>)> {
        let path = self.path;
        self.values.into_iter().map(move |(key, _, value)| {
            let node = Node { path: join(&path, &key), value };
            (key, node)
        })
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<()> {
        match self.values.first() {
            None => Ok(()),
            Some((key, line, _)) => Err(format!(
                "{line}: {}: nobody knows this key; it takes {}",
                join(&self.path, key),
                self.asked.join(", ")
            )),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
