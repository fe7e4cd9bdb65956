//! What a timer heard in an interval.

/// A timer's samples in the order they came, and how many they stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The values.
    pub values: Vec<f64>,
    /// The sum of 1 / rate.
    pub weight: f64,
    /// Some of them came as `ms`: they are milliseconds.
    pub is_time: bool,
}

impl Samples {
    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The sum of the values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.values.iter().sum()
    }

    /// Of values that ascend the highest of this part of them, from 0 to 1, which is rounded half up to whole ones; `None`
    /// without values.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let k = (part * self.values.len() as f64).round() as usize;
        self.values.get(k.saturating_sub(1)).copied()
    }

    /// How many of the values, which ascend, are so that `is_low` holds.
    #[must_use]
    pub fn up_to(&self, is_low: impl Fn(f64) -> bool) -> f64 {
        self.values.partition_point(|&value| is_low(value)) as f64
    }
}
