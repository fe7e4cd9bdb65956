//! A histogram as text.

use crate::figures::{grouped, time};
use hdrhistogram::Histogram;

/// The most rows of equal width; what is beyond the last has a row of its own.
const ROWS: usize = 16;
/// The longest bar, characters.
const WIDTH: u64 = 50;
/// Rows reach to twice what this share is below, or to that share of all: what is above would make all others one row.
const MOST: f64 = 0.9;
const SHOWN: f64 = 0.99;
/// A row is at least this part of what it begins at: less is not seen in the three digits of its ends.
const FINEST: u64 = 500;

/// A row for each of some equal steps from the least latency on, and one for the rest.
pub(crate) fn bars(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    if histogram.is_empty() {
        return text;
    }
    let at = |share| histogram.lowest_equivalent(histogram.value_at_quantile(share));
    let low = histogram.min();
    let high = at(SHOWN).min(at(MOST).saturating_mul(2)).max(low);
    let step = step(((high - low) / ROWS as u64).max(low / FINEST));
    let first = low / step * step;
    let rows = ((high - first) / step) as usize + 1;
    let mut counts = vec![0; rows + 1];
    for recorded in histogram.iter_recorded() {
        // The counts of the histogram's own steps are told whole, so that the rows make up the total.
        let value = histogram.lowest_equivalent(recorded.value_iterated_to()).max(first);
        let row = usize::try_from((value - first) / step).map_or(rows, |row| row.min(rows));
        counts[row] += recorded.count_at_value();
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    for (row, &count) in counts.iter().enumerate() {
        let from = first + row as u64 * step;
        let range = match row {
            _ if row < rows => format!("{:>9} to {:>9}", time(from), time(from + step)),
            _ if count == 0 => break,
            _ => format!("{:>9} to {:>9}", time(from), time(histogram.max())),
        };
        // What is there is seen, however little it is.
        let length = (count * WIDTH).div_ceil(most) as usize;
        let row = format!("{range}  {:>11}  {}", grouped(count), "#".repeat(length));
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// The next of 1, 2, 5, 10, 20, 50… that is above `least`.
fn step(least: u64) -> u64 {
    let mut decade = 1;
    loop {
        for factor in [1, 2, 5] {
            if decade * factor > least {
                return decade * factor;
            }
        }
        decade *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Vec<u64> {
        let counts = text.lines().map(|line| {
            let rest = line.split(" to ").nth(1).and_then(|rest| rest.split_whitespace().nth(2));
            rest.and_then(|count| count.replace(',', "").parse().ok()).expect("a count")
        });
        counts.collect()
    }

    #[test]
    fn the_rows_make_up_the_total() {
        for latencies in [
            vec![1],
            vec![60_000_000_000],
            (1..=10_000).collect(),
            (0..5_000).map(|n| 9_000 + n * n % 7_919).chain([1_000_000, 70_000_000_000]).collect(),
        ] {
            let mut histogram = crate::latency::histogram().unwrap();
            latencies.iter().for_each(|latency| histogram.record(*latency).unwrap());
            let text = bars(&histogram);
            let counts = counts(&text);
            assert_eq!(counts.iter().sum::<u64>(), latencies.len() as u64, "{text}");
            assert!(counts.len() <= ROWS + 2, "{text}");
            for (line, count) in text.lines().zip(counts) {
                assert_eq!(line.contains('#'), count > 0, "{text}");
            }
        }
        assert_eq!(bars(&crate::latency::histogram().unwrap()), "");
    }

    #[test]
    fn neither_one_alone_nor_a_long_tail_takes_the_shape_away() {
        let of = |latencies: &[(u64, u64)]| {
            let mut histogram = crate::latency::histogram().unwrap();
            latencies.iter().for_each(|&(latency, count)| histogram.record_n(latency, count).unwrap());
            bars(&histogram)
        };
        assert_eq!(
            of(&[(328_800, 1)]),
            format!("{:>9} to {:>9}  {:>11}  {}\n", "328 us", "329 us", 1, "#".repeat(50))
        );
        let rows = counts(&of(&[(8_000, 400), (11_000, 400), (14_000, 150), (21_000_000, 50)]));
        assert_eq!(rows.iter().filter(|&&count| count > 0).count(), 4, "{rows:?}");
    }

    #[test]
    fn steps_are_round() {
        for (least, round) in [(0, 1), (1, 2), (2, 5), (49, 50), (50, 100), (123_456, 200_000)] {
            assert_eq!(step(least), round);
        }
    }
}
