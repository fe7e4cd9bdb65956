//! From YAML to rules: every key of the statsd_exporter's, the old ones too, is honoured or named.

use super::template::Template;
use super::yaml::{self, Node, Result, Table};
use super::{Observer, Of, Pattern, Rule};
use regex::Regex;
use std::sync::Arc;

/// Upper bounds in seconds, as Prometheus' client libraries have them by default.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

pub(super) struct File {
    pub(super) rules: Vec<Rule>,
    pub(super) observer: Observer,
    pub(super) is_unordered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MatchType {
    Glob,
    Regex,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ObserverType {
    Summary,
    Histogram,
}

/// What is said of timers in one place.
#[derive(Default)]
struct Options {
    kind: Option<ObserverType>,
    quantiles: Option<Arc<[f64]>>,
    buckets: Option<Arc<[f64]>>,
    /// The line of what only a summary, or only a histogram, has.
    of_summary: Option<String>,
    of_histogram: Option<String>,
}

struct Reader<'w> {
    warnings: &'w mut Vec<String>,
    match_type: MatchType,
    defaults: Options,
}

pub(super) fn read(text: &str, warnings: &mut Vec<String>) -> Result<File> {
    let document = yaml::load(text)?;
    let mut reader = Reader { warnings, match_type: MatchType::Glob, defaults: Options::default() };
    let mut rules = Vec::new();
    let mut is_unordered = false;
    // A document of nothing is as good as none.
    if let Some(document) = document.as_ref().map(|document| Node::new("", document))
        && !document.is_null()
    {
        let mut file = document.table()?;
        if let Some(defaults) = file.take("defaults") {
            is_unordered = reader.defaults(&defaults)?;
        }
        let list = file.take("mappings").map(|node| node.list()).transpose()?;
        rules = list.into_iter().flatten().map(|node| reader.rule(&node)).collect::<Result<_>>()?;
        file.end()?;
    }
    Ok(File { rules, observer: reader.observer(Options::default())?, is_unordered })
}

impl Reader<'_> {
    fn not_done(&mut self, node: &Node<'_>, why: &str) {
        self.warnings.push(node.problem(&format!("not done here: {why}")));
    }

    fn defaults(&mut self, node: &Node<'_>) -> Result<bool> {
        let mut table = node.table()?;
        if let Some(node) = table.take("match_type") {
            self.match_type = match_type(&node)?;
        }
        let unordered = table.take("glob_disable_ordering").map(|node| node.bool()).transpose()?;
        self.ttl(&mut table);
        self.defaults = self.options(&mut table)?;
        table.end()?;
        Ok(unordered.unwrap_or(false))
    }

    fn ttl(&mut self, table: &mut Table<'_>) {
        // 0 is for ever.
        if let Some(node) = table.take("ttl").filter(|node| node.text() != Ok("0")) {
            self.not_done(&node, "how long series are told that do not come any more, idle says");
        }
    }

    fn options(&mut self, table: &mut Table<'_>) -> Result<Options> {
        let mut options = Options::default();
        // The second is its old name.
        for key in ["observer_type", "timer_type"] {
            if let Some(node) = table.take(key) {
                let words = [("summary", ObserverType::Summary), ("histogram", ObserverType::Histogram)];
                options.kind = Some(node.one_of(&words, "summary or histogram")?);
            }
        }
        if let Some(node) = table.take("summary_options") {
            options.of_summary = Some(node.problem("it goes with observer_type: summary"));
            let mut table = node.table()?;
            options.quantiles = table.take("quantiles").map(|node| quantiles(&node)).transpose()?.flatten();
            for key in ["max_age", "age_buckets", "buf_cap"] {
                if let Some(node) = table.take(key) {
                    self.not_done(&node, "quantiles are those of the last flush");
                }
            }
            table.end()?;
        }
        if let Some(node) = table.take("histogram_options") {
            options.of_histogram = Some(node.problem("it goes with observer_type: histogram"));
            let mut table = node.table()?;
            options.buckets = table.take("buckets").map(|node| buckets(&node)).transpose()?.flatten();
            for key in ["native_histogram_bucket_factor", "native_histogram_max_buckets"] {
                if let Some(node) = table.take(key) {
                    self.not_done(&node, "histograms have the buckets that are listed");
                }
            }
            table.end()?;
        }
        // As they stood before there were options.
        if let Some(node) = table.take("quantiles") {
            options.quantiles = quantiles(&node)?;
        }
        if let Some(node) = table.take("buckets") {
            options.buckets = buckets(&node)?;
        }
        Ok(options)
    }

    /// What a timer is with these options, or the defaults.
    fn observer(&self, options: Options) -> Result<Observer> {
        let default = &self.defaults;
        match options.kind.or(default.kind).unwrap_or(ObserverType::Summary) {
            ObserverType::Summary => match options.of_histogram {
                Some(problem) => Err(problem),
                None => Ok(Observer::Summary(options.quantiles.or_else(|| default.quantiles.clone()))),
            },
            ObserverType::Histogram => match options.of_summary {
                Some(problem) => Err(problem),
                None => {
                    let buckets = options.buckets.or_else(|| default.buckets.clone());
                    Ok(Observer::Histogram(buckets.unwrap_or_else(|| BUCKETS.into())))
                }
            },
        }
    }

    fn rule(&mut self, node: &Node<'_>) -> Result<Rule> {
        let mut table = node.table()?;
        let of_type = table.take("match_type").map(|node| match_type(&node)).transpose()?;
        let matches = table.take("match").ok_or(table.missing("match"));
        let names = table.take("name").ok_or(table.missing("name"));
        let labelled = table.take("labels");
        let words = [
            ("counter", Of::Counter),
            ("gauge", Of::Gauge),
            ("observer", Of::Observer),
            ("timer", Of::Observer),
        ];
        let of = table.take("match_metric_type");
        let of = of.map(|node| node.one_of(&words, "counter, gauge or observer")).transpose()?;
        let action = table.take("action");
        let action = action.map(|node| node.one_of(&[("map", false), ("drop", true)], "map or drop"));
        let drops = action.transpose()?.unwrap_or(false);
        let honors_labels = table.take("honor_labels").map(|node| node.bool()).transpose()?;
        let help = table.take("help").map(|node| node.text()).transpose()?;
        let scale = table
            .take("scale")
            .map(|node| node.number("a number above 0", |scale| scale.is_finite() && scale > 0.0));
        self.ttl(&mut table);
        let options = self.options(&mut table)?;
        table.end()?;
        let node = matches?;
        let pattern = match of_type.unwrap_or(self.match_type) {
            MatchType::Glob => Pattern::Glob(glob(&node)?),
            MatchType::Regex => match Regex::new(node.text()?) {
                Ok(regex) => Pattern::Regex(regex),
                Err(error) => {
                    let last = error.to_string().lines().last().unwrap_or_default().to_owned();
                    return Err(node.problem(&format!("no regular expression: {last}")));
                }
            },
        };
        let group = |name: &str| pattern.group(name);
        // Whatever it would be called, what is dropped is not told.
        let node = if drops { names.ok() } else { Some(names?) };
        let name = node.map(|node| name(&node, group)).transpose()?;
        let mut labels = Vec::new();
        if let Some(node) = labelled {
            for (key, node) in node.table()?.all() {
                let (value, problems) = Template::read(node.text()?, group);
                // There it is empty, and a file that runs there is to run here.
                let left_out = |problem: &String| node.problem(&format!("{problem}; it is left out"));
                self.warnings.extend(problems.iter().map(left_out));
                labels.push((label(key, &node)?, value));
            }
        }
        Ok(Rule {
            observer: self.observer(options)?,
            of,
            drops,
            name: name.unwrap_or_default(),
            labels,
            honors_labels: honors_labels.unwrap_or(false),
            help: help.map(str::to_owned),
            scale: scale.transpose()?.unwrap_or(1.0),
            pattern,
        })
    }
}

impl Pattern {
    /// The number of a group by its number or name.
    fn group(&self, name: &str) -> Option<usize> {
        let (first, groups) = match self {
            Pattern::Glob(parts) => (1, 1 + parts.iter().filter(|part| part.is_none()).count()),
            Pattern::Regex(regex) => (0, regex.captures_len()),
        };
        match (name.parse::<usize>(), self) {
            (Ok(number), _) => Some(number).filter(|number| (first..groups).contains(number)),
            (Err(_), Pattern::Regex(regex)) => regex.capture_names().position(|known| known == Some(name)),
            (Err(_), Pattern::Glob(_)) => None,
        }
    }
}

fn match_type(node: &Node<'_>) -> Result<MatchType> {
    node.one_of(&[("glob", MatchType::Glob), ("regex", MatchType::Regex)], "glob or regex")
}

fn glob(node: &Node<'_>) -> Result<Vec<Option<String>>> {
    let wanted = "it takes components between dots, each * or of letters, digits, _ and -";
    let part = |part: &str| match part {
        "*" => Ok(None),
        _ if !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) =>
        {
            Ok(Some(part.to_owned()))
        }
        _ => Err(node.problem(&format!("{part:?} is no component: {wanted}; match_type: regex takes more"))),
    };
    node.text()?.split('.').map(part).collect()
}

fn name(node: &Node<'_>, group: impl Fn(&str) -> Option<usize>) -> Result<Template> {
    let (name, problems) = Template::read(node.text()?, group);
    if let Some(problem) = problems.first() {
        return Err(node.problem(problem));
    }
    let is_good = |(at, letter): (usize, Option<char>)| match letter {
        None => true,
        Some(letter) => {
            letter.is_ascii_alphabetic() || matches!(letter, '_' | ':') || at > 0 && letter.is_ascii_digit()
        }
    };
    if name.letters().next().is_none() || !name.letters().enumerate().all(is_good) {
        return Err(node.problem("must be of letters, digits, _ and :, without a digit at its beginning"));
    }
    Ok(name)
}

fn label(key: String, node: &Node<'_>) -> Result<String> {
    let is_good = key.chars().enumerate().all(|(at, letter)| {
        letter.is_ascii_alphabetic() || letter == '_' || at > 0 && letter.is_ascii_digit()
    });
    if !is_good || key.is_empty() {
        return Err(
            node.problem("a label must be of letters, digits and _, without a digit at its beginning")
        );
    }
    if key.starts_with("__") || key == "le" || key == "quantile" {
        return Err(node.problem("Prometheus keeps le, quantile and what begins with __ for itself"));
    }
    Ok(key)
}

/// None at all are as good as the default.
fn quantiles(node: &Node<'_>) -> Result<Option<Arc<[f64]>>> {
    let one = |node: Node<'_>| {
        let mut table = node.table()?;
        let quantile = table.take("quantile").ok_or(table.missing("quantile"));
        // Any that there is is kept: there is none.
        if let Some(node) = table.take("error") {
            node.number("a number from 0 to 1", |number| (0.0..=1.0).contains(&number))?;
        }
        table.end()?;
        quantile?.number("a number from 0 to 1", |number| (0.0..=1.0).contains(&number))
    };
    let mut quantiles = node.list()?.into_iter().map(one).collect::<Result<Vec<_>>>()?;
    quantiles.sort_by(f64::total_cmp);
    quantiles.dedup();
    Ok((!quantiles.is_empty()).then(|| quantiles.into()))
}

fn buckets(node: &Node<'_>) -> Result<Option<Arc<[f64]>>> {
    let mut buckets = Vec::new();
    let list = node.list()?;
    for (at, node) in list.iter().enumerate() {
        let is_last = at + 1 == list.len();
        if is_last && matches!(node.text()?, "+Inf" | ".inf" | "+.inf" | ".Inf" | "+.Inf") {
            // It is there in any case.
            continue;
        }
        let bound = node.number("a number above that before it", |bound| {
            bound.is_finite() && buckets.last().is_none_or(|&last| last < bound)
        })?;
        buckets.push(bound);
    }
    Ok((!buckets.is_empty()).then(|| buckets.into()))
}
