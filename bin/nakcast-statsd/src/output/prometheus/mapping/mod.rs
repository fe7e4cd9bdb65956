//! Mapping rules, as the statsd_exporter has them: which name, labels and type series have for Prometheus.
//!
//! A rule's pattern is a glob, in which `*` stands for a component of the name between dots, or a regular expression, which
//! matches anywhere in the name. The first glob that matches wins, and only if none does the first regular expression.
//! What no rule matches has the name it has without a mapping.

mod read;
mod template;
mod yaml;

use super::family::Kind;
use regex::Regex;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use template::Template;

/// A file of rules.
#[derive(Debug)]
pub struct Mapping {
    rules: Vec<Rule>,
    /// The globs of so many components, in the order in which they are tried.
    globs: HashMap<usize, Vec<usize>>,
    regexes: Vec<usize>,
    /// What timers are that no rule matches, or whose rule does not say.
    observer: Observer,
    /// What it was read from.
    text: String,
}

impl PartialEq for Mapping {
    fn eq(&self, other: &Mapping) -> bool {
        self.text == other.text
    }
}

/// What a timer is told as.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Observer {
    /// With these quantiles; `None` has those of the configured percentiles.
    Summary(Option<Arc<[f64]>>),
    /// With these upper bounds, inclusive, ascending and finite.
    Histogram(Arc<[f64]>),
}

#[derive(Debug)]
pub(super) struct Rule {
    pattern: Pattern,
    /// Of which series alone.
    of: Option<Of>,
    /// Whether what it matches is not told.
    pub(super) drops: bool,
    name: Template,
    labels: Vec<(String, Template)>,
    /// Whether a tag stands before a label of the rule.
    pub(super) honors_labels: bool,
    pub(super) help: Option<String>,
    /// What values are multiplied by, above 0.
    pub(super) scale: f64,
    pub(super) observer: Observer,
}

#[derive(Debug)]
enum Pattern {
    /// Components; `None` is any.
    Glob(Vec<Option<String>>),
    Regex(Regex),
}

/// The kinds a rule may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Counter,
    /// Sets, too, which are told as gauges.
    Gauge,
    Observer,
}

impl Of {
    fn is(self, kind: Kind) -> bool {
        match self {
            Of::Counter => kind == Kind::Counter,
            Of::Gauge => matches!(kind, Kind::Gauge | Kind::Set),
            Of::Observer => kind == Kind::Timer,
        }
    }
}

/// What a rule makes of a series.
#[derive(Debug)]
pub(super) struct Mapped {
    /// The rule's number.
    pub(super) rule: usize,
    /// As the rule makes it: not cleaned, perhaps empty.
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
}

impl Mapping {
    /// Reads a file, for which `by` asked. What is not done of what it asks for comes beside it, one line each.
    ///
    /// # Errors
    ///
    /// One line that names the file, the line, the key, what is wrong and what would be right.
    pub fn read(file: &Path, by: &str) -> Result<(Mapping, Vec<String>), String> {
        let text = fs::read_to_string(file).map_err(|error| {
            let file = file.display();
            format!("{by}: mapping rules for Prometheus cannot be read from {file}: {error}; it takes a file in YAML")
        })?;
        let named = |problem: &str| format!("{}:{problem}", file.display());
        let (mapping, warnings) = Mapping::parse(&text).map_err(|problem| named(&problem))?;
        Ok((mapping, warnings.iter().map(|warning| named(warning)).collect()))
    }

    /// Reads the text of a file; errors and what is not done as of [`Mapping::read`], without the file.
    ///
    /// # Errors
    ///
    /// `LINE: KEY: problem`.
    pub fn parse(text: &str) -> Result<(Mapping, Vec<String>), String> {
        let mut warnings = Vec::new();
        let file = read::read(text, &mut warnings)?;
        let mut globs: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut regexes = Vec::new();
        for (number, rule) in file.rules.iter().enumerate() {
            match &rule.pattern {
                Pattern::Glob(parts) => globs.entry(parts.len()).or_default().push(number),
                Pattern::Regex(_) => regexes.push(number),
            }
        }
        if file.is_unordered {
            // The more specific one, from left to right, before the others.
            for same in globs.values_mut() {
                same.sort_by_key(|&number| match &file.rules[number].pattern {
                    Pattern::Glob(parts) => parts.iter().map(Option::is_none).collect(),
                    Pattern::Regex(_) => Vec::new(),
                });
            }
        }
        let (rules, observer, text) = (file.rules, file.observer, text.to_owned());
        Ok((Mapping { rules, globs, regexes, observer, text }, warnings))
    }

    /// Whether more is told of timers than their statistics.
    #[must_use]
    pub fn needs_samples(&self) -> bool {
        let all = self.rules.iter().map(|rule| &rule.observer).chain([&self.observer]);
        all.into_iter().any(|observer| *observer != Observer::Summary(None))
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(super) fn rule(&self, number: usize) -> &Rule {
        &self.rules[number]
    }

    /// What the first rule that matches makes of a series.
    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<Mapped> {
        let parts = name.split('.').collect::<Vec<_>>();
        let globs = self.globs.get(&parts.len()).into_iter().flatten().copied();
        globs.chain(self.regexes.iter().copied()).find_map(|number| {
            let rule = &self.rules[number];
            if rule.of.is_some_and(|of| !of.is(kind)) {
                return None;
            }
            let groups = match &rule.pattern {
                Pattern::Glob(pattern) => glob(pattern, name, &parts)?,
                Pattern::Regex(regex) => {
                    let captures = regex.captures(name)?;
                    captures.iter().map(|group| group.map_or("", |group| group.as_str())).collect()
                }
            };
            let label = |(key, value): &(String, Template)| (key.clone(), value.fill(&groups));
            Some(Mapped {
                rule: number,
                name: rule.name.fill(&groups),
                labels: rule.labels.iter().map(label).collect(),
            })
        })
    }
}

/// What the asterisks match, behind the whole name; `None` if the glob does not.
fn glob<'n>(pattern: &[Option<String>], name: &'n str, parts: &[&'n str]) -> Option<Vec<&'n str>> {
    let both = || pattern.iter().zip(parts);
    if !both().all(|(wanted, part)| wanted.as_ref().is_none_or(|wanted| wanted == part)) {
        return None;
    }
    let stars = both().filter(|(wanted, _)| wanted.is_none()).map(|(_, &part)| part);
    Some([name].into_iter().chain(stars).collect())
}
