//! What a timer heard in an interval.

use crate::sketch::Sketch;

/// A timer's samples in the order they came, and how many they stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The values; none when there is a sketch.
    pub values: Vec<f64>,
    /// What stands for the values when they were too many.
    pub sketch: Option<Box<Sketch>>,
    /// The sum of 1 / rate, also of samples for which there was no room.
    pub weight: f64,
    /// Some of them came as `ms`: they are milliseconds.
    pub is_time: bool,
    /// How many each value stands for; `None` while they all stand for as many, and when there is a sketch, which knows.
    weights: Option<Box<Weights>>,
}

/// 1 / rate of each value, in the order of the values.
#[derive(Clone, Debug, PartialEq)]
struct Weights(Vec<f64>);

impl Samples {
    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sketch.as_ref().map_or(self.values.len(), |sketch| sketch.count() as usize)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of all that the values stand for. What there was no room for is as the others are on average; `None` if there
    /// was room for none.
    #[must_use]
    pub fn sum(&self) -> Option<f64> {
        let (sum, known) = match (&self.sketch, &self.weights) {
            (Some(sketch), _) => sketch.weighed(),
            (None, Some(weights)) => {
                let each = self.values.iter().zip(&weights.0).map(|(value, weight)| value * weight);
                (each.sum(), weights.0.iter().sum())
            }
            (None, None) => (self.values.iter().sum(), self.values.len() as f64),
        };
        match known > 0.0 {
            true => Some(sum * (self.weight / known)),
            false => (self.weight == 0.0).then_some(0.0),
        }
    }

    /// Of values that ascend the highest of this part of them, from 0 to 1, which is rounded half up to whole ones; `None`
    /// without values.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let rank = ((part * self.len() as f64).round() as usize).saturating_sub(1);
        match &self.sketch {
            Some(sketch) => Some(sketch.bins().at(rank as u64)),
            None => self.values.get(rank).copied(),
        }
    }

    /// How many those of the values, which ascend, stand for of which `is_low` holds.
    #[must_use]
    pub fn up_to(&self, is_low: impl Fn(f64) -> bool) -> f64 {
        let (low, known) = match (&self.sketch, &self.weights) {
            (Some(sketch), _) => {
                let bins = sketch.weighed_bins();
                (bins.up_to(is_low), bins.up_to(|_| true))
            }
            (None, Some(weights)) => {
                let low = self.values.partition_point(|&value| is_low(value));
                (weights.0[..low].iter().sum(), weights.0.iter().sum())
            }
            (None, None) => {
                (self.values.partition_point(|&value| is_low(value)) as f64, self.values.len() as f64)
            }
        };
        match low {
            0.0 => 0.0,
            // All of them are as many as there are, whatever the order they were added up in.
            low if low >= known => self.weight,
            low => (low * (self.weight / known)).min(self.weight),
        }
    }

    /// Sorts the values, and how many each stands for with them.
    pub(crate) fn sort(&mut self) {
        let Some(weights) = &mut self.weights else { return self.values.sort_unstable_by(f64::total_cmp) };
        let mut pairs = self.values.drain(..).zip(weights.0.drain(..)).collect::<Vec<_>>();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        (self.values, weights.0) = pairs.into_iter().unzip();
    }

    /// Forgets the values.
    pub(crate) fn forget(&mut self) {
        (self.values, self.weights, self.sketch) = (Vec::new(), None, None);
    }

    /// From now on values stand for different numbers; those that came until now for as many each.
    pub(crate) fn differ(&mut self) {
        let each = self.weight / self.len() as f64;
        match &mut self.sketch {
            Some(sketch) => sketch.differ(each),
            None => _ = self.weights.get_or_insert_with(|| Box::new(Weights(vec![each; self.values.len()]))),
        }
    }

    /// Takes note of how many the value stands for that came last, where that differs.
    pub(crate) fn weigh(&mut self, weight: f64) {
        if let Some(weights) = &mut self.weights {
            weights.0.push(weight);
        }
    }

    /// Puts a sketch in the place of the values.
    pub(crate) fn condense(&mut self) -> &mut Sketch {
        let (values, weights) = (std::mem::take(&mut self.values), self.weights.take());
        let each = weights.map(|weights| weights.0);
        self.sketch.get_or_insert_with(|| Box::new(Sketch::new(&values, each.as_deref())))
    }
}
