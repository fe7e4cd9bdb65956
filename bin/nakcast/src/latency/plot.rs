//! Latencies by percentile, as an SVG picture. Both axes are logarithmic: the horizontal one in how few are slower, so that
//! each further nine has as much room as the one before.

use super::Named;
use super::svg::{self, COLOURS, HEIGHT, LEGEND_LINE, WIDTH, legend, line, text};
use crate::figures::time;
use hdrhistogram::Histogram;
use std::fmt::Write;

/// What of the picture the curves have, pixels.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 60.0;
/// The most curves that are named; more would hide them.
const NAMED: usize = 12;
/// Points of a curve for each halving of what is slower.
const DENSITY: u32 = 10;

/// Where a share and a latency are.
struct Axes {
    /// Nines at the right edge.
    nines: f64,
    /// The decades of the vertical axis.
    low: i32,
    high: i32,
}

impl Axes {
    fn of(histograms: &[Named<'_>]) -> Axes {
        let seen = || histograms.iter().map(|named| named.histogram).filter(|h| !h.is_empty());
        let count = seen().map(Histogram::len).max().unwrap_or(1);
        let low = seen().map(Histogram::min).min().unwrap_or(1).max(1);
        let high = seen().map(Histogram::max).max().unwrap_or(1).max(low);
        let low = (low as f64).log10().floor() as i32;
        let high = ((high as f64).log10().ceil() as i32).max(low + 1);
        Axes { nines: (count as f64).log10().ceil().max(2.0), low, high }
    }

    /// Of a share that is as fast, or faster.
    fn x(&self, share: f64) -> f64 {
        let slower = (1.0 - share).max(10_f64.powf(-self.nines));
        LEFT + (WIDTH - LEFT - RIGHT) * (-slower.log10() / self.nines)
    }

    fn y(&self, nanoseconds: f64) -> f64 {
        let decades = f64::from(self.high - self.low);
        let up = (nanoseconds.max(1.0).log10() - f64::from(self.low)) / decades;
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up
    }
}

/// The picture: a curve for each histogram that has anything.
pub(crate) fn plot(title: &str, histograms: &[Named<'_>]) -> String {
    let axes = Axes::of(histograms);
    let mut svg = svg::begin();
    text(&mut svg, WIDTH / 2.0, TOP / 2.0, "middle", title);
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - BOTTOM / 4.0, "middle", "percentile");
    for nines in 0..=axes.nines as u32 {
        let x = axes.x(1.0 - 10_f64.powi(-(nines as i32)));
        line(&mut svg, (x, TOP), (x, HEIGHT - BOTTOM));
        text(&mut svg, x, HEIGHT - BOTTOM + LEGEND_LINE, "middle", &percentile(nines));
    }
    for decade in axes.low..=axes.high {
        let latency = 10_f64.powi(decade);
        let y = axes.y(latency);
        line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y));
        text(&mut svg, LEFT - 6.0, y + 4.0, "end", &time(latency as u64));
    }
    for (index, named) in histograms.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        curve(&mut svg, &axes, named.histogram, colour);
        if index < NAMED {
            legend(&mut svg, (LEFT + 12.0, TOP), index, colour, named.name);
        }
    }
    svg.push_str(svg::END);
    svg
}

fn curve(svg: &mut String, axes: &Axes, histogram: &Histogram<u64>, colour: &str) {
    if histogram.is_empty() {
        return;
    }
    let _ = write!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"");
    let _ = write!(svg, "{:.1},{:.1}", axes.x(0.0), axes.y(histogram.min() as f64));
    // The slowest stands where one of as many is slower: a share of none has no place.
    let last = 1.0 - 1.0 / histogram.len() as f64;
    for point in histogram.iter_quantiles(DENSITY) {
        let share = point.quantile_iterated_to().min(last);
        let _ = write!(svg, " {:.1},{:.1}", axes.x(share), axes.y(point.value_iterated_to() as f64));
    }
    svg.push_str("\"/>\n");
}

/// 0%, 90%, 99%, 99.9%…
fn percentile(nines: u32) -> String {
    match nines {
        0 => "0%".into(),
        1 => "90%".into(),
        2 => "99%".into(),
        _ => format!("99.{}%", "9".repeat(nines as usize - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_to_the_right_and_stays_inside() {
        let mut histogram = crate::latency::histogram().unwrap();
        (1..=1_000_000).for_each(|latency| histogram.record(latency * 10).unwrap());
        let named = [Named { name: "a & <b>", histogram: &histogram }];
        let svg = plot("one", &named);
        assert!(svg.contains("a &amp; &lt;b&gt;") && svg.contains("99.9999%"), "{svg}");
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect();
        assert!(points.len() > 50, "{points:?}");
        for pair in points.windows(2) {
            assert!(pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1, "{pair:?}");
        }
        let inside = |(x, y)| (LEFT..=WIDTH - RIGHT).contains(x) && (TOP..=HEIGHT - BOTTOM).contains(y);
        assert!(points.iter().all(|(x, y)| inside((x, y))), "{points:?}");
        // Half of them are as fast as half the slowest: log10(2) of the six nines from the left.
        let half = axes_x(&histogram, 0.5);
        assert!((half - (LEFT + (WIDTH - LEFT - RIGHT) * 2_f64.log10() / 6.0)).abs() < 0.01, "{half}");
    }

    fn axes_x(histogram: &Histogram<u64>, share: f64) -> f64 {
        Axes::of(&[Named { name: "", histogram }]).x(share)
    }

    #[test]
    fn nothing_makes_a_picture_without_curves() {
        let histogram = crate::latency::histogram().unwrap();
        let svg = plot("none", &[Named { name: "a", histogram: &histogram }]);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("polyline") && !svg.contains("NaN"), "{svg}");
    }
}
