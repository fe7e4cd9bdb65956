//! What a timer heard in an interval.

use crate::sketch::Sketch;

/// A timer's samples in the order they came, and how many they stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The values; none when there is a sketch.
    pub values: Vec<f64>,
    /// What stands for the values when they were too many.
    pub sketch: Option<Box<Sketch>>,
    /// The sum of 1 / rate.
    pub weight: f64,
    /// Some of them came as `ms`: they are milliseconds.
    pub is_time: bool,
    /// How many each value stands for; `None` while they all stand for as many, which is the mean.
    weights: Option<Box<Weights>>,
}

/// How many values stand for that came at several rates.
#[derive(Clone, Debug, PartialEq)]
struct Weights {
    /// 1 / rate of each value, in the order of the values; none when there is a sketch.
    each: Vec<f64>,
    /// The sum of these.
    known: f64,
    /// The sum of the values, each as often as it stands for.
    sum: f64,
}

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

    /// The sum of all that the values stand for; 0 without values. What there was no room for is as the others are on average.
    #[must_use]
    pub fn sum(&self) -> f64 {
        match &self.sketch {
            _ if self.is_empty() => 0.0,
            _ if self.weights.is_some() => self.mixed_sum().unwrap_or(0.0),
            Some(sketch) => sketch.sum() / self.len() as f64 * self.weight,
            None => self.values.iter().sum::<f64>() / self.len() as f64 * self.weight,
        }
    }

    /// The same of values that came at several rates, also when they are not there any more; else it is their mean as often as
    /// all stand for.
    #[must_use]
    pub fn mixed_sum(&self) -> Option<f64> {
        self.weights.as_ref().map(|weights| weights.sum * (self.weight / weights.known))
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

    /// How many those of the values, which ascend, stand for of which `is_low` holds. A sketch knows of each only the mean.
    #[must_use]
    pub fn up_to(&self, is_low: impl Fn(f64) -> bool) -> f64 {
        let low = match &self.sketch {
            Some(sketch) => sketch.bins().up_to(is_low) as usize,
            None => self.values.partition_point(|&value| is_low(value)),
        };
        match &self.weights {
            _ if low == 0 => 0.0,
            // All of them are as many as there are, whatever the order they were added up in.
            _ if low == self.len() => self.weight,
            Some(weights) if self.sketch.is_none() => {
                let part = weights.each[..low].iter().sum::<f64>() * (self.weight / weights.known);
                part.min(self.weight)
            }
            _ => low as f64 * (self.weight / self.len() as f64),
        }
    }

    /// Sorts the values, and how many each stands for with them.
    pub(crate) fn sort(&mut self) {
        match &mut self.weights {
            Some(weights) if !weights.each.is_empty() => {
                let values = std::mem::take(&mut self.values).into_iter();
                let mut pairs = values.zip(std::mem::take(&mut weights.each)).collect::<Vec<_>>();
                pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
                (self.values, weights.each) = pairs.into_iter().unzip();
            }
            _ => self.values.sort_unstable_by(f64::total_cmp),
        }
    }

    /// Forgets the values; what they come to is known still, when they stand for unequally many.
    pub(crate) fn forget(&mut self) {
        (self.values, self.sketch) = (Vec::new(), None);
        if let Some(weights) = &mut self.weights {
            weights.each = Vec::new();
        }
    }

    /// Takes note that the value which came last stands for so many. Those before it stood for `before` in all, and each for as
    /// many as the others, unless this was called already.
    pub(crate) fn weigh(&mut self, before: f64, value: f64, weight: f64) {
        let earlier = self.len().saturating_sub(1);
        let (values, sketch) = (&self.values, &self.sketch);
        let weights = self.weights.get_or_insert_with(|| {
            let mean = before / earlier as f64;
            let (each, sum) = match sketch {
                Some(sketch) => (Vec::new(), sketch.sum() - value),
                None => (vec![mean; earlier], values[..earlier].iter().sum()),
            };
            Box::new(Weights { each, known: before, sum: sum * mean })
        });
        if sketch.is_none() {
            weights.each.push(weight);
        }
        weights.known += weight;
        weights.sum += value * weight;
    }

    /// Puts a sketch in the place of the values.
    pub(crate) fn condense(&mut self) -> &mut Sketch {
        let values = std::mem::take(&mut self.values);
        if let Some(weights) = &mut self.weights {
            weights.each = Vec::new();
        }
        self.sketch.get_or_insert_with(|| Box::new(Sketch::new(&values)))
    }
}
