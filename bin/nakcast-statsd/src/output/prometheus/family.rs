//! Families: who has which name.

use super::mapping::{Mapped, Mapping, Observer, Rule};
use crate::digits::Js;
use crate::name::{self, Identity};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Display, Write};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Set,
    Timer,
}

/// A timer's totals, and the quantiles of the last flush.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) quantiles: Vec<(f64, f64)>,
    /// `None` when it was never told.
    pub(super) sum: Option<f64>,
    pub(super) count: Option<f64>,
}

/// A timer's totals, by buckets.
#[derive(Debug)]
pub(super) struct Histogram {
    /// Upper bounds, inclusive.
    pub(super) bounds: Arc<[f64]>,
    /// How many there were up to each.
    pub(super) counts: Vec<f64>,
    pub(super) sum: f64,
    pub(super) count: f64,
}

#[derive(Debug)]
pub(super) enum Series {
    Total(f64),
    /// `None` when the last flush did not tell it.
    Level(Option<f64>),
    Summary(Summary),
    Histogram(Histogram),
}

/// What Prometheus takes a family for.
#[derive(Clone, Debug, PartialEq)]
enum Type {
    Counter,
    Gauge,
    Summary,
    /// With these bounds.
    Histogram(Arc<[f64]>),
}

/// A series' place.
pub(super) struct Place<'a> {
    pub(super) series: &'a mut Series,
    /// What its values are multiplied by.
    pub(super) scale: f64,
    /// Which quantiles it has; `None` are those of the percentiles.
    pub(super) quantiles: Option<Arc<[f64]>>,
}

/// Why a series has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    NoRoom,
    /// A rule says so.
    Dropped,
    /// A rule gives it a name that is empty, or that something of another type has.
    Refused,
}

#[derive(Debug)]
struct Family {
    type_: Type,
    help: Cow<'static, str>,
    /// A rule gave it its name: whatever is of its type may come to it.
    is_mapped: bool,
    /// The kinds and cleaned names that lead to it.
    keys: Vec<(Kind, String)>,
    /// By their labels, `k="v",k="v"`.
    series: BTreeMap<String, Series>,
}

#[derive(Debug)]
pub(super) struct Families {
    most: usize,
    count: usize,
    families: BTreeMap<String, Family>,
    /// Which family a kind and a cleaned name have.
    names: HashMap<(Kind, String), String>,
    /// Every name of a sample, so that no two families tell the same.
    taken: HashSet<String>,
    mapping: Option<Arc<Mapping>>,
    /// What the rules make of names, so that each is matched once.
    matched: HashMap<Kind, HashMap<String, Option<Arc<Mapped>>>>,
    matches: usize,
    /// What was refused and is not said yet.
    refused: Vec<String>,
    /// What was refused at all.
    all_refused: HashSet<String>,
}

/// Refused names that are said.
const SAID: usize = 20;

impl Families {
    pub(super) fn new(most: usize, mapping: Option<Arc<Mapping>>) -> Families {
        Families {
            most,
            count: 0,
            families: BTreeMap::new(),
            names: HashMap::new(),
            taken: HashSet::new(),
            mapping,
            matched: HashMap::new(),
            matches: 0,
            refused: Vec::new(),
            all_refused: HashSet::new(),
        }
    }

    /// From now on there is room for so many series; those that are there stay.
    pub(super) fn bound(&mut self, most: usize) {
        self.most = most;
    }

    pub(super) fn mapping(&self) -> Option<&Arc<Mapping>> {
        self.mapping.as_ref()
    }

    /// The names that were refused since it was last asked, with the reason, each once; the first of them.
    pub(super) fn refused(&mut self) -> Vec<String> {
        std::mem::take(&mut self.refused)
    }

    /// Begins a flush: what it does not tell is not there any more.
    pub(super) fn begin(&mut self) {
        for series in self.families.values_mut().flat_map(|family| family.series.values_mut()) {
            match series {
                Series::Total(_) | Series::Histogram(_) => {}
                Series::Level(level) => *level = None,
                Series::Summary(summary) => summary.quantiles.clear(),
            }
        }
    }

    /// Ends a flush.
    pub(super) fn end(&mut self) {
        let Families { count, families, names, taken, .. } = self;
        families.retain(|name, family| {
            let before = family.series.len();
            family.series.retain(|_, series| !matches!(series, Series::Level(None)));
            *count -= before - family.series.len();
            if family.series.is_empty() {
                for key in &family.keys {
                    names.remove(key);
                }
                for sample in samples(&family.type_, name) {
                    taken.remove(&sample);
                }
                return false;
            }
            true
        });
    }

    /// Where a series is told.
    pub(super) fn place(&mut self, kind: Kind, identity: &Identity) -> Result<Place<'_>, Untold> {
        let Some(mapping) = self.mapping.clone() else {
            let series = self.unmapped(kind, identity, &Observer::Summary(None))?;
            return Ok(Place { series, scale: 1.0, quantiles: None });
        };
        let Some(mapped) = self.matching(&mapping, kind, identity.name()) else {
            let quantiles = quantiles(mapping.observer());
            let series = self.unmapped(kind, identity, mapping.observer())?;
            return Ok(Place { series, scale: 1.0, quantiles });
        };
        let rule = mapping.rule(mapped.rule);
        if rule.drops {
            return Err(Untold::Dropped);
        }
        let series = self.mapped(kind, identity, rule, &mapped)?;
        Ok(Place { series, scale: rule.scale, quantiles: quantiles(&rule.observer) })
    }

    fn matching(&mut self, mapping: &Mapping, kind: Kind, name: &str) -> Option<Arc<Mapped>> {
        if let Some(known) = self.matched.get(&kind).and_then(|names| names.get(name)) {
            return known.clone();
        }
        if self.matches >= self.most {
            // Names come and go.
            self.matched.clear();
            self.matches = 0;
        }
        let mapped = mapping.find(kind, name).map(Arc::new);
        self.matched.entry(kind).or_default().insert(name.to_owned(), mapped.clone());
        self.matches += 1;
        mapped
    }

    fn mapped(
        &mut self,
        kind: Kind,
        identity: &Identity,
        rule: &Rule,
        mapped: &Mapped,
    ) -> Result<&mut Series, Untold> {
        if mapped.name.is_empty() {
            return Err(self.refuse(format!("{}: a rule gives it an empty name", identity.name())));
        }
        let (name, type_) = (apart(name::prometheus(&mapped.name)), type_of(kind, &rule.observer));
        match self.families.get(&name) {
            Some(family) if family.type_ == type_ => {}
            None if !samples(&type_, &name).any(|sample| self.taken.contains(&sample)) => {
                if self.count >= self.most {
                    return Err(Untold::NoRoom);
                }
                let help = rule.help.clone().map_or(Cow::Borrowed(help(kind, &type_)), Cow::Owned);
                self.add(name.clone(), type_, help, true);
            }
            _ => {
                let why = format!("{}: a rule names it {name}, which is another type's", identity.name());
                return Err(self.refuse(why));
            }
        }
        let mut labels = labels(identity);
        for (key, value) in &mapped.labels {
            if rule.honors_labels && labels.contains_key(key) {
                continue;
            }
            labels.insert(key.clone(), value.clone());
        }
        self.of_family(&name, text_of(&labels))
    }

    fn refuse(&mut self, why: String) -> Untold {
        if self.all_refused.len() < SAID && self.all_refused.insert(why.clone()) {
            self.refused.push(why);
        }
        Untold::Refused
    }

    fn unmapped(
        &mut self,
        kind: Kind,
        identity: &Identity,
        observer: &Observer,
    ) -> Result<&mut Series, Untold> {
        let key = (kind, clean(kind, identity.name()));
        let name = match self.names.get(&key) {
            Some(name) => name.clone(),
            None if self.count >= self.most => return Err(Untold::NoRoom),
            None => self.found(key, type_of(kind, observer)),
        };
        self.of_family(&name, text_of(&labels(identity)))
    }

    fn of_family(&mut self, name: &str, labels: String) -> Result<&mut Series, Untold> {
        let family = self.families.get_mut(name).ok_or(Untold::NoRoom)?;
        if !family.series.contains_key(&labels) {
            if self.count >= self.most {
                return Err(Untold::NoRoom);
            }
            self.count += 1;
            let fresh = match &family.type_ {
                Type::Counter => Series::Total(0.0),
                Type::Gauge => Series::Level(None),
                Type::Summary => Series::Summary(Summary::default()),
                Type::Histogram(bounds) => {
                    let (bounds, counts) = (Arc::clone(bounds), vec![0.0; bounds.len()]);
                    Series::Histogram(Histogram { bounds, counts, sum: 0.0, count: 0.0 })
                }
            };
            family.series.insert(labels.clone(), fresh);
        }
        family.series.get_mut(&labels).ok_or(Untold::NoRoom)
    }

    fn add(&mut self, name: String, type_: Type, help: Cow<'static, str>, is_mapped: bool) {
        self.taken.extend(samples(&type_, &name));
        let family = Family { type_, help, is_mapped, keys: Vec::new(), series: BTreeMap::new() };
        self.families.insert(name, family);
    }

    /// Gives a kind and a name a family. If another kind has the name, its own kind stands behind it.
    fn found(&mut self, key: (Kind, String), type_: Type) -> String {
        let (kind, mut name) = key.clone();
        let is_joined = |families: &BTreeMap<String, Family>, name: &str| {
            families.get(name).is_some_and(|family| family.is_mapped && family.type_ == type_)
        };
        while samples(&type_, &name).any(|sample| self.taken.contains(&sample))
            && !is_joined(&self.families, &name)
        {
            name.push_str(match kind {
                Kind::Counter => "_counter_total",
                Kind::Gauge => "_gauge",
                Kind::Set => "_set",
                Kind::Timer => "_timer",
            });
        }
        if !is_joined(&self.families, &name) {
            let help = help(kind, &type_);
            self.add(name.clone(), type_, help.into(), false);
        }
        if let Some(family) = self.families.get_mut(&name) {
            family.keys.push(key.clone());
        }
        self.names.insert(key, name.clone());
        name
    }

    pub(super) fn text(&self, text: &mut String) -> fmt::Result {
        for (name, family) in &self.families {
            let type_ = match family.type_ {
                Type::Counter => "counter",
                Type::Gauge => "gauge",
                Type::Summary => "summary",
                Type::Histogram(_) => "histogram",
            };
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {type_}", Help(&family.help))?;
            for (labels, series) in &family.series {
                let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
                let comma = if labels.is_empty() { "" } else { "," };
                match series {
                    Series::Total(value) | Series::Level(Some(value)) => {
                        writeln!(text, "{name}{open}{labels}{close} {}", Go(*value))?;
                    }
                    Series::Level(None) => {}
                    Series::Summary(summary) => {
                        for &(quantile, value) in &summary.quantiles {
                            let quantile = Js(quantile);
                            writeln!(text, "{name}{{{labels}{comma}quantile=\"{quantile}\"}} {}", Go(value))?;
                        }
                        for (behind, total) in [("sum", summary.sum), ("count", summary.count)] {
                            if let Some(total) = total {
                                writeln!(text, "{name}_{behind}{open}{labels}{close} {}", Go(total))?;
                            }
                        }
                    }
                    Series::Histogram(histogram) => {
                        let bounds = histogram.bounds.iter().zip(&histogram.counts);
                        for (&bound, &count) in bounds.chain([(&f64::INFINITY, &histogram.count)]) {
                            let (bound, count) = (Go(bound), Go(count));
                            writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}")?;
                        }
                        for (behind, total) in [("sum", histogram.sum), ("count", histogram.count)] {
                            writeln!(text, "{name}_{behind}{open}{labels}{close} {}", Go(total))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn quantiles(observer: &Observer) -> Option<Arc<[f64]>> {
    match observer {
        Observer::Summary(quantiles) => quantiles.clone(),
        Observer::Histogram(_) => None,
    }
}

fn type_of(kind: Kind, observer: &Observer) -> Type {
    match (kind, observer) {
        (Kind::Counter, _) => Type::Counter,
        (Kind::Gauge | Kind::Set, _) => Type::Gauge,
        (Kind::Timer, Observer::Summary(_)) => Type::Summary,
        (Kind::Timer, Observer::Histogram(bounds)) => Type::Histogram(Arc::clone(bounds)),
    }
}

fn help(kind: Kind, type_: &Type) -> &'static str {
    match (kind, type_) {
        (Kind::Counter, _) => "Counter, added up over all flushes.",
        (Kind::Gauge, _) => "Gauge.",
        (Kind::Set, _) => "Distinct members of a set in the last flush.",
        (Kind::Timer, Type::Histogram(_)) => "Timer: how many there were up to each bound, in all flushes.",
        (Kind::Timer, _) => "Timer: quantiles of the last flush; count and sum of all.",
    }
}

/// The names of a family's samples, and its own.
fn samples(type_: &Type, name: &str) -> impl Iterator<Item = String> {
    let behind: &[&str] = match type_ {
        Type::Counter | Type::Gauge => &[""],
        Type::Summary => &["", "_sum", "_count"],
        Type::Histogram(_) => &["", "_sum", "_count", "_bucket"],
    };
    behind.iter().map(move |behind| format!("{name}{behind}"))
}

/// What begins as the collector's own names do gets a word before it: a name like the server's own is just a name.
fn apart(mut name: String) -> String {
    if name.starts_with("nakcast_statsd_") {
        name.insert_str(0, "exported_");
    }
    name
}

/// A metric's name.
fn clean(kind: Kind, name: &str) -> String {
    let mut clean = apart(name::prometheus(name));
    if kind == Kind::Counter && !clean.ends_with("_total") {
        clean.push_str("_total");
    }
    clean
}

/// Tags as labels, sorted. Prometheus keeps names with two underscores before them, and those of a summary's and a
/// histogram's own labels, for itself. If two tags come to one label, it has both values.
fn labels(identity: &Identity) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in identity.tags() {
        let mut key = name::prometheus(key).replace(':', "_");
        if key.starts_with("__") || key == "quantile" || key == "le" {
            key.insert_str(0, "exported_");
        }
        let label = labels.entry(key).or_default();
        if !label.is_empty() {
            label.push(',');
        }
        label.push_str(value);
    }
    labels
}

fn text_of(labels: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (key, value) in labels {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{key}=\"{}\"", Escaped(value));
    }
    text
}

/// A label's value, with `\`, `"` and line feeds escaped.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// A help text, with `\` and line feeds escaped.
struct Help<'a>(&'a str);

impl Display for Help<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.trim_end().chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// A number as Go reads it.
struct Go(f64);

impl Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => Js(number).fmt(f),
        }
    }
}
