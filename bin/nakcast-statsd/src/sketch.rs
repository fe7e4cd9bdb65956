//! What stands for a timer's values when they are too many to be kept: a DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and
//! Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB 2019).
//!
//! It counts values in bins whose bounds grow by a factor, so that whatever is told of a value's place is within
//! [`ERROR`] of the value itself. There are at most 2,048 bins for values from 0 on and as many for those below: magnitudes
//! that are more than 13 decades below the highest are told as if they were just so much lower. How many values there are, the
//! lowest and the highest, their sum, the sum of their squares, mean and standard deviation are kept apart, and exact.
//!
//! Values may stand for different numbers, because clients left others out. Then bins of as many as they stand for are kept
//! beside those of the values.

use libdd_ddsketch::DDSketch;

/// How far a value that is told may be from the one that came: 0.78% of it, which is the crate's.
pub const ERROR: f64 = 1.0 / 129.0;

/// Bytes that one takes at most: two stores of 2,048 bins, whose room grows by doubling. As many again where values stand for
/// different numbers.
pub const BYTES: usize = 2 * 4096 * 8;

/// Values that are not kept.
#[derive(Clone, Debug)]
pub struct Sketch {
    count: u64,
    lower: f64,
    upper: f64,
    sum: f64,
    squares: f64,
    mean: f64,
    /// The sum of the squared differences from the mean, added up as Welford does (Technometrics 4, 1962).
    differences: f64,
    stores: Stores,
    /// `None` while all values stand for as many.
    weighed: Option<Box<Weighed>>,
}

/// Where values are counted.
#[derive(Clone, Debug, Default)]
struct Stores {
    from_zero: DDSketch,
    /// Of magnitudes.
    below_zero: Option<Box<DDSketch>>,
}

/// The values, each as often as it stands for.
#[derive(Clone, Debug)]
struct Weighed {
    weight: f64,
    sum: f64,
    stores: Stores,
}

/// A sketch's values in ascending order, each as its bin has it: how many there are, or how many they stand for, and which.
#[derive(Debug)]
pub struct Bins(Vec<(f64, f64)>);

impl Stores {
    fn add(&mut self, value: f64, count: f64) {
        let store = match value < 0.0 {
            true => self.below_zero.get_or_insert_default(),
            false => &mut self.from_zero,
        };
        // It refuses only what is below 0 or not finite.
        let _ = store.add_with_count(value.abs(), count);
    }

    /// How many there are of each value.
    fn all(&self) -> impl Iterator<Item = (f64, f64)> {
        let bins = |store: &DDSketch| store.ordered_bins();
        let below = self.below_zero.as_deref().map(bins).unwrap_or_default();
        let below = below.into_iter().rev().map(|(value, count)| (count, -value));
        let above = bins(&self.from_zero).into_iter().map(|(value, count)| (count, value));
        below.chain(above).filter(|&(count, _)| count > 0.0)
    }
}

impl Sketch {
    /// One that stands for these values, of which each stands for as many as the others, or for as many as `each` has it.
    #[must_use]
    pub fn new(values: &[f64], each: Option<&[f64]>) -> Sketch {
        let mut sketch = Sketch {
            count: 0,
            lower: f64::INFINITY,
            upper: f64::NEG_INFINITY,
            sum: 0.0,
            squares: 0.0,
            mean: 0.0,
            differences: 0.0,
            stores: Stores::default(),
            weighed: None,
        };
        match each {
            Some(each) => {
                sketch.differ(1.0);
                values.iter().zip(each).for_each(|(&value, &weight)| sketch.add(value, weight));
            }
            None => values.iter().for_each(|&value| sketch.add(value, 1.0)),
        }
        sketch
    }

    /// From now on it looks at how many a value stands for; those until now stand for `each`.
    pub fn differ(&mut self, each: f64) {
        if self.weighed.is_some() {
            return;
        }
        let mut stores = Stores::default();
        // What stands for a bin is within it.
        self.bins().0.into_iter().for_each(|(count, value)| stores.add(value, count * each));
        let (weight, sum) = (self.count as f64 * each, self.sum * each);
        self.weighed = Some(Box::new(Weighed { weight, sum, stores }));
    }

    /// Takes a value, which is finite, and stands for so many, which matters once they differ.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.count += 1;
        self.lower = self.lower.min(value);
        self.upper = self.upper.max(value);
        self.sum += value;
        self.squares += value * value;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.differences += before * (value - self.mean);
        self.stores.add(value, 1.0);
        if let Some(weighed) = &mut self.weighed {
            weighed.weight += weight;
            weighed.sum += value * weight;
            weighed.stores.add(value, weight);
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lowest.
    #[must_use]
    pub fn lower(&self) -> f64 {
        self.lower
    }

    /// The highest.
    #[must_use]
    pub fn upper(&self) -> f64 {
        self.upper
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The sum of their squares.
    #[must_use]
    pub fn squares(&self) -> f64 {
        self.squares
    }

    /// Their standard deviation, of all there are.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        (self.differences / self.count as f64).sqrt()
    }

    /// The sum of the values, each as often as it stands for, and how often that is in all; where all stand for as many, each
    /// once.
    #[must_use]
    pub fn weighed(&self) -> (f64, f64) {
        self.weighed.as_ref().map_or((self.sum, self.count as f64), |weighed| (weighed.sum, weighed.weight))
    }

    /// What it knows of each of them.
    #[must_use]
    pub fn bins(&self) -> Bins {
        self.bins_of(&self.stores)
    }

    /// The same, each as often as it stands for; where all stand for as many, each once.
    #[must_use]
    pub fn weighed_bins(&self) -> Bins {
        self.bins_of(self.weighed.as_ref().map_or(&self.stores, |weighed| &weighed.stores))
    }

    fn bins_of(&self, stores: &Stores) -> Bins {
        // No bin is beyond what came.
        Bins(stores.all().map(|(count, value)| (count, value.clamp(self.lower, self.upper))).collect())
    }
}

impl PartialEq for Sketch {
    fn eq(&self, other: &Sketch) -> bool {
        let exact = |of: &Sketch| (of.count, of.lower, of.upper, of.sum, of.squares, of.differences);
        exact(self) == exact(other)
            && self.weighed() == other.weighed()
            && self.bins().0 == other.bins().0
            && self.weighed_bins().0 == other.weighed_bins().0
    }
}

impl Bins {
    /// The value of this rank, from 0 on; the highest if it is beyond.
    #[must_use]
    pub fn at(&self, rank: u64) -> f64 {
        let mut before = 0.0_f64;
        let found = self.0.iter().find(|(count, _)| {
            before += count;
            (rank as f64) < before
        });
        found.or(self.0.last()).map_or(0.0, |&(_, value)| value)
    }

    /// The sum of the values whose ranks are from the first up to before the second, and that of their squares.
    #[must_use]
    pub fn sums(&self, from: u64, to: u64) -> (f64, f64) {
        let (mut sum, mut squares, mut before) = (0.0, 0.0, 0.0_f64);
        for &(count, value) in &self.0 {
            let part = ((before + count).min(to as f64) - before.max(from as f64)).max(0.0);
            sum += value * part;
            squares += value * value * part;
            before += count;
        }
        (sum, squares)
    }

    /// How many of the lowest are so that `is_low` holds.
    #[must_use]
    pub fn up_to(&self, is_low: impl Fn(f64) -> bool) -> f64 {
        self.0.iter().take_while(|&&(_, value)| is_low(value)).map(|&(count, _)| count).sum()
    }
}
