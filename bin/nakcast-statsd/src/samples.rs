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

    /// The sum of the values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sketch.as_ref().map_or_else(|| self.values.iter().sum(), |sketch| sketch.sum())
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

    /// How many of the values, which ascend, are so that `is_low` holds.
    #[must_use]
    pub fn up_to(&self, is_low: impl Fn(f64) -> bool) -> f64 {
        match &self.sketch {
            Some(sketch) => sketch.bins().up_to(is_low) as f64,
            None => self.values.partition_point(|&value| is_low(value)) as f64,
        }
    }

    /// Puts a sketch in the place of the values.
    pub(crate) fn condense(&mut self) -> &mut Sketch {
        let values = std::mem::take(&mut self.values);
        self.sketch.get_or_insert_with(|| Box::new(Sketch::new(&values)))
    }
}
