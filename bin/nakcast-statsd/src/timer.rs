//! What is told of a timer.
//!
//! The arithmetic is the original's, in its order, so that the digits agree: sums are cumulative over the ascending samples,
//! and the sum of the highest is the difference of two such.

use crate::samples::Samples;
use crate::sketch::Sketch;

/// One histogram: which timers have it, and its bins.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// Timers whose name holds this have these bins; the first entry that matches wins.
    pub metric: String,
    /// Upper bounds, exclusive, ascending; the last may be infinite, and takes the rest. None at all: no histogram.
    pub bounds: Vec<f64>,
}

/// What is to be told, with its names made once.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    names: Vec<String>,
    /// Whether each of the names is told.
    told: Vec<bool>,
    /// The percentiles, each with the number of the first of its five names.
    percentiles: Vec<(f64, u16)>,
    /// The bins, each with the number of its first name.
    bins: Vec<(Bins, u16)>,
    /// What `told` was made from.
    wanted: Vec<String>,
}

const STD: u16 = 0;
const UPPER: u16 = 1;
const LOWER: u16 = 2;
const COUNT: u16 = 3;
const COUNT_PS: u16 = 4;
const SUM: u16 = 5;
const SUM_SQUARES: u16 = 6;
const MEAN: u16 = 7;
const MEDIAN: u16 = 8;
/// 1 for a timer whose percentiles a sketch told.
pub(crate) const SKETCHED: u16 = 9;
const FIXED: [&str; 10] =
    ["std", "upper", "lower", "count", "count_ps", "sum", "sum_squares", "mean", "median", "sketched"];

/// Most names there can be: their numbers are of 16 bits.
const MOST_NAMES: usize = 60_000;

impl Plan {
    /// A plan for these percentiles (-100 to 100, not 0) and bins. `told` names what is told, as the original's
    /// `calculatedTimerMetrics` does (`count_percent` for the count of every percentile); empty tells all.
    ///
    /// # Errors
    ///
    /// One line that says which percentile or which bins cannot be.
    pub fn new(percentiles: &[f64], bins: &[Bins], told: &[String]) -> Result<Plan, String> {
        let mut plan = Plan {
            names: FIXED.map(String::from).to_vec(),
            told: Vec::new(),
            percentiles: Vec::new(),
            bins: Vec::new(),
            wanted: told.to_vec(),
        };
        for &percentile in percentiles {
            if !(-100.0..=100.0).contains(&percentile) || percentile == 0.0 {
                return Err(format!("percentile {percentile}: must be from -100 to 100, and not 0"));
            }
            if plan.percentiles.iter().any(|&(known, _)| known == percentile) {
                continue;
            }
            let first = plan.next()?;
            let text = crate::digits::Js(percentile).to_string().replace('.', "_").replace('-', "top");
            let bound = if percentile > 0.0 { "upper" } else { "lower" };
            let names = ["count", "mean", bound, "sum", "sum_squares"];
            plan.names.extend(names.map(|name| format!("{name}_{text}")));
            plan.percentiles.push((percentile, first));
        }
        for entry in bins {
            if entry.bounds.iter().any(|bound| bound.is_nan())
                || !entry.bounds.is_sorted_by(|low, high| low < high)
            {
                return Err(format!("histogram of {:?}: its bins must ascend", entry.metric));
            }
            let first = plan.next()?;
            plan.names.extend(entry.bounds.iter().map(|&bound| {
                let text =
                    if bound == f64::INFINITY { "inf".into() } else { crate::digits::Js(bound).to_string() };
                format!("histogram.bin_{}", text.replace('.', "_"))
            }));
            plan.bins.push((entry.clone(), first));
        }
        plan.next()?;
        plan.told = plan.names.iter().map(|name| is_told(name, told)).collect();
        // What is no longer exact is never told as if it were.
        plan.told[usize::from(SKETCHED)] = true;
        Ok(plan)
    }

    /// The same plan for other percentiles.
    ///
    /// # Errors
    ///
    /// As of [`Plan::new`].
    pub fn with_percentiles(&self, percentiles: &[f64]) -> Result<Plan, String> {
        let bins = self.bins.iter().map(|(bins, _)| bins.clone()).collect::<Vec<_>>();
        Plan::new(percentiles, &bins, &self.wanted)
    }

    fn next(&self) -> Result<u16, String> {
        match u16::try_from(self.names.len()) {
            Ok(next) if self.names.len() <= MOST_NAMES => Ok(next),
            _ => Err(format!("percentiles and bins: more than {MOST_NAMES} names in all")),
        }
    }

    /// The name of a statistic.
    #[must_use]
    pub fn name(&self, number: u16) -> &str {
        &self.names[usize::from(number)]
    }

    /// The percentiles, each with the number of its bound's name.
    pub fn bounds(&self) -> impl Iterator<Item = (f64, u16)> {
        self.percentiles.iter().map(|&(percentile, first)| (percentile, first + 2))
    }

    /// Whether a timer's sum is told, or its mean, from which it follows.
    pub(crate) fn tells_sum(&self) -> bool {
        [SUM, MEAN].iter().any(|&number| self.told[usize::from(number)])
    }

    /// All names, by number.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Default for Plan {
    /// The 90th percentile, no bins, everything told.
    fn default() -> Plan {
        match Plan::new(&[90.0], &[], &[]) {
            Ok(plan) => plan,
            Err(problem) => unreachable!("{problem}"),
        }
    }
}

/// Whether a name is among those to be told: the number of a percentile stands there as `percent`.
fn is_told(name: &str, told: &[String]) -> bool {
    if told.is_empty() {
        return true;
    }
    let name = if name.starts_with("histogram.") { "histogram" } else { name };
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let stem = if stem.len() < name.len() { stem.strip_suffix("top").unwrap_or(stem) } else { name };
    if stem.len() < name.len() && stem.ends_with('_') {
        let general = format!("{stem}percent");
        return told.contains(&general);
    }
    told.iter().any(|told| told == name)
}

/// Statistics by the numbers of their names.
type Fields = Vec<(u16, f64)>;

/// Works out what `plan` wants of the samples, which are sorted on the way: statistics, and bins.
pub(crate) fn work_out(plan: &Plan, name: &str, samples: &mut Samples, seconds: f64) -> (Fields, Fields) {
    let weight = samples.weight;
    if let Some(sketch) = &samples.sketch {
        return of_sketch(plan, name, sketch, weight, seconds);
    }
    samples.sort();
    let values = &samples.values;
    if values.is_empty() {
        return (told(plan, vec![(COUNT_PS, weight / seconds), (COUNT, weight)]), Vec::new());
    }
    let (sums, squares) = cumulative(values);
    let n = values.len();
    let (lower, upper) = (values[0], values[n - 1]);

    let mut fields = Vec::with_capacity(FIXED.len() + 5 * plan.percentiles.len());
    for &(percentile, first) in &plan.percentiles {
        // Rounded half up. A lone sample is every percentile.
        let k = if n == 1 { 1 } else { (percentile.abs() / 100.0 * n as f64).round() as usize };
        if k == 0 {
            continue;
        }
        let (bound, sum, square) = if percentile > 0.0 {
            (values[k - 1], sums[k - 1], squares[k - 1])
        } else if k == n {
            (lower, sums[n - 1], squares[n - 1])
        } else {
            (values[n - k], sums[n - 1] - sums[n - k - 1], squares[n - 1] - squares[n - k - 1])
        };
        let each = [k as f64, sum / k as f64, bound, sum, square];
        fields.extend((first..).zip(each));
    }

    let (sum, square) = (sums[n - 1], squares[n - 1]);
    let mean = sum / n as f64;
    let mut differences = 0.0;
    for &value in values.iter() {
        differences += (value - mean) * (value - mean);
    }
    let middle = n / 2;
    let median = if n % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    fields.extend([
        (STD, (differences / n as f64).sqrt()),
        (UPPER, upper),
        (LOWER, lower),
        (COUNT, weight),
        (COUNT_PS, weight / seconds),
        (SUM, sum),
        (SUM_SQUARES, square),
        (MEAN, mean),
        (MEDIAN, median),
    ]);
    (told(plan, fields), told(plan, bins(plan, name, values)))
}

/// The same of values that are not there any more: what has to do with their order is within [`crate::sketch::ERROR`].
fn of_sketch(plan: &Plan, name: &str, sketch: &Sketch, weight: f64, seconds: f64) -> (Fields, Fields) {
    let (n, bins) = (sketch.count(), sketch.bins());
    let mut fields = Vec::with_capacity(FIXED.len() + 5 * plan.percentiles.len());
    for &(percentile, first) in &plan.percentiles {
        let k = if n == 1 { 1 } else { (percentile.abs() / 100.0 * n as f64).round() as u64 };
        if k == 0 {
            continue;
        }
        let (bound, (sum, square)) = match (k == n, percentile > 0.0) {
            (true, true) => (sketch.upper(), (sketch.sum(), sketch.squares())),
            (true, false) => (sketch.lower(), (sketch.sum(), sketch.squares())),
            (false, true) => (bins.at(k - 1), bins.sums(0, k)),
            (false, false) => (bins.at(n - k), bins.sums(n - k, n)),
        };
        fields.extend((first..).zip([k as f64, sum / k as f64, bound, sum, square]));
    }
    let middle = n / 2;
    let median = if n % 2 == 1 { bins.at(middle) } else { (bins.at(middle - 1) + bins.at(middle)) / 2.0 };
    fields.extend([
        (STD, sketch.deviation()),
        (UPPER, sketch.upper()),
        (LOWER, sketch.lower()),
        (COUNT, weight),
        (COUNT_PS, weight / seconds),
        (SUM, sketch.sum()),
        (SUM_SQUARES, sketch.squares()),
        (MEAN, sketch.sum() / n as f64),
        (MEDIAN, median),
        (SKETCHED, 1.0),
    ]);
    let mut histogram = Vec::new();
    if let Some((wanted, first)) = plan.bins.iter().find(|(bins, _)| name.contains(&bins.metric)) {
        let mut before = 0.0;
        for (number, &bound) in (*first..).zip(&wanted.bounds) {
            let until = if bound == f64::INFINITY { n as f64 } else { bins.up_to(|value| value < bound) };
            histogram.push((number, until - before));
            before = until;
        }
    }
    (told(plan, fields), told(plan, histogram))
}

fn told(plan: &Plan, mut fields: Fields) -> Fields {
    fields.retain(|&(number, _)| plan.told[usize::from(number)]);
    fields
}

/// The sums of the lowest one, two, three... values, and of their squares.
fn cumulative(values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut sum, mut square) = (0.0, 0.0);
    values
        .iter()
        .map(|&value| {
            sum += value;
            square += value * value;
            (sum, square)
        })
        .unzip()
}

fn bins(plan: &Plan, name: &str, values: &[f64]) -> Fields {
    let Some((bins, first)) = plan.bins.iter().find(|(bins, _)| name.contains(&bins.metric)) else {
        return Vec::new();
    };
    let mut rest = values;
    let count = |&bound: &f64| {
        let within =
            if bound == f64::INFINITY { rest.len() } else { rest.partition_point(|&value| value < bound) };
        rest = &rest[within..];
        within as f64
    };
    (*first..).zip(bins.bounds.iter().map(count)).collect()
}
