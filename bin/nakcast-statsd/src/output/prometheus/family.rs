//! Families: who has which name.

use crate::digits::Js;
use crate::name::{self, Identity};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Display, Write};

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

#[derive(Debug)]
enum Series {
    Total(f64),
    /// `None` when the last flush did not tell it.
    Level(Option<f64>),
    Summary(Summary),
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    /// The cleaned name of whoever came first.
    key: String,
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
}

impl Families {
    pub(super) fn new(most: usize) -> Families {
        Families { most, count: 0, families: BTreeMap::new(), names: HashMap::new(), taken: HashSet::new() }
    }

    /// Begins a flush: what it does not tell is not there any more.
    pub(super) fn begin(&mut self) {
        for series in self.families.values_mut().flat_map(|family| family.series.values_mut()) {
            match series {
                Series::Total(_) => {}
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
                names.remove(&(family.kind, std::mem::take(&mut family.key)));
                for sample in samples(family.kind, name) {
                    taken.remove(&sample);
                }
                return false;
            }
            true
        });
    }

    pub(super) fn counter(&mut self, series: &Identity) -> Option<&mut f64> {
        match self.series(Kind::Counter, series)? {
            Series::Total(total) => Some(total),
            _ => None,
        }
    }

    /// A level, which is there already if another series has told it in this flush.
    pub(super) fn level(&mut self, kind: Kind, series: &Identity) -> Option<&mut Option<f64>> {
        match self.series(kind, series)? {
            Series::Level(level) => Some(level),
            _ => None,
        }
    }

    pub(super) fn summary(&mut self, series: &Identity) -> Option<&mut Summary> {
        match self.series(Kind::Timer, series)? {
            Series::Summary(summary) => Some(summary),
            _ => None,
        }
    }

    /// `None` without room.
    fn series(&mut self, kind: Kind, identity: &Identity) -> Option<&mut Series> {
        let labels = labels(identity);
        let key = (kind, clean(kind, identity.name()));
        let name = match self.names.get(&key) {
            Some(name) => name.clone(),
            None if self.count >= self.most => return None,
            None => self.found(key),
        };
        let family = self.families.get_mut(&name)?;
        if !family.series.contains_key(&labels) {
            if self.count >= self.most {
                return None;
            }
            self.count += 1;
            let fresh = match kind {
                Kind::Counter => Series::Total(0.0),
                Kind::Gauge | Kind::Set => Series::Level(None),
                Kind::Timer => Series::Summary(Summary::default()),
            };
            family.series.insert(labels.clone(), fresh);
        }
        family.series.get_mut(&labels)
    }

    /// Gives a kind and a name a family. If another kind has the name, its own kind stands behind it.
    fn found(&mut self, key: (Kind, String)) -> String {
        let (kind, mut name) = key.clone();
        while samples(kind, &name).any(|sample| self.taken.contains(&sample)) {
            name.push_str(match kind {
                Kind::Counter => "_counter_total",
                Kind::Gauge => "_gauge",
                Kind::Set => "_set",
                Kind::Timer => "_timer",
            });
        }
        self.taken.extend(samples(kind, &name));
        let family = Family { kind, key: key.1.clone(), series: BTreeMap::new() };
        self.families.insert(name.clone(), family);
        self.names.insert(key, name.clone());
        name
    }

    pub(super) fn text(&self, text: &mut String) -> fmt::Result {
        for (name, family) in &self.families {
            let (type_, what) = match family.kind {
                Kind::Counter => ("counter", "Counter, added up over all flushes."),
                Kind::Gauge => ("gauge", "Gauge."),
                Kind::Set => ("gauge", "Distinct members of a set in the last flush."),
                Kind::Timer => ("summary", "Timer: quantiles of the last flush; count and sum of all."),
            };
            writeln!(text, "# HELP {name} {what}\n# TYPE {name} {type_}")?;
            for (labels, series) in &family.series {
                let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
                match series {
                    Series::Total(value) | Series::Level(Some(value)) => {
                        writeln!(text, "{name}{open}{labels}{close} {}", Go(*value))?;
                    }
                    Series::Level(None) => {}
                    Series::Summary(summary) => {
                        let comma = if labels.is_empty() { "" } else { "," };
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
                }
            }
        }
        Ok(())
    }
}

/// The names of a family's samples, and its own.
fn samples(kind: Kind, name: &str) -> impl Iterator<Item = String> {
    let behind: &[&str] = if kind == Kind::Timer { &["", "_sum", "_count"] } else { &[""] };
    behind.iter().map(move |behind| format!("{name}{behind}"))
}

/// A metric's name. What begins as the collector's own names do gets a word before it: a name like the server's own is
/// just a name.
fn clean(kind: Kind, name: &str) -> String {
    let mut clean = name::prometheus(name);
    if clean.starts_with("nakcast_statsd_") {
        clean.insert_str(0, "exported_");
    }
    if kind == Kind::Counter && !clean.ends_with("_total") {
        clean.push_str("_total");
    }
    clean
}

/// Tags as labels, sorted. Prometheus keeps names with two underscores before them, and those of a summary's and a
/// histogram's own labels, for itself. If two tags come to one label, it has both values.
fn labels(identity: &Identity) -> String {
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
    let mut text = String::new();
    for (key, value) in &labels {
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
