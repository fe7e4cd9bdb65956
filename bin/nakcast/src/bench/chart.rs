//! Bars side by side, as an SVG picture.

use crate::latency::svg;
use std::fmt::Write;

/// What of the picture the bars have, pixels.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 70.0;
/// Lines across, at round values.
const LINES: f64 = 5.0;
/// What each of two bars is.
const KINDS: [&str; 2] = ["nakcast", "raw sockets, the same datagrams"];

/// Two bars under one name.
#[derive(Debug)]
pub(super) struct Bars {
    pub(super) name: String,
    /// A second line below it.
    pub(super) remark: String,
    /// Bytes a second, in the order of the kinds.
    pub(super) values: [Option<f64>; 2],
}

/// The picture.
pub(super) fn bars(title: &str, bars: &[Bars]) -> String {
    let values = || bars.iter().flat_map(|bars| bars.values).flatten();
    let step = step(values().fold(0.0, f64::max) / LINES);
    let most = step * (values().fold(0.0, f64::max) / step).ceil().max(1.0);
    let y = |value: f64| svg::HEIGHT - BOTTOM - (svg::HEIGHT - TOP - BOTTOM) * value / most;
    let mut picture = svg::begin();
    svg::text(&mut picture, svg::WIDTH / 2.0, TOP / 2.0, "middle", title);
    for line in 0..=(most / step).round() as u32 {
        let value = f64::from(line) * step;
        svg::line(&mut picture, (LEFT, y(value)), (svg::WIDTH - RIGHT, y(value)));
        svg::text(&mut picture, LEFT - 6.0, y(value) + 4.0, "end", &format!("{} MB/s", value / 1e6));
    }
    let each = (svg::WIDTH - LEFT - RIGHT) / bars.len().max(1) as f64;
    let width = each / 4.0;
    for (index, bars) in bars.iter().enumerate() {
        let middle = LEFT + each * (index as f64 + 0.5);
        for (kind, value) in bars.values.iter().enumerate() {
            let Some(value) = *value else { continue };
            let x = middle + width * (kind as f64 - 1.0);
            let _ = writeln!(
                picture,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                y(value),
                y(0.0) - y(value),
                svg::COLOURS[kind]
            );
            svg::text(
                &mut picture,
                x + width / 2.0,
                y(value) - 4.0,
                "middle",
                &format!("{:.0}", value / 1e6),
            );
        }
        svg::text(&mut picture, middle, svg::HEIGHT - BOTTOM + 20.0, "middle", &bars.name);
        svg::text(&mut picture, middle, svg::HEIGHT - BOTTOM + 38.0, "middle", &bars.remark);
    }
    for (kind, name) in KINDS.iter().enumerate() {
        svg::legend(&mut picture, (LEFT + 12.0, TOP + 4.0), kind, svg::COLOURS[kind], name);
    }
    picture.push_str(svg::END);
    picture
}

/// The least of 1, 2, 5, 10, 20, 50… that is no less; 1 for nothing.
fn step(least: f64) -> f64 {
    let mut decade = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if decade * factor >= least {
                return decade * factor;
            }
        }
        decade *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_values() {
        let of = |values| Bars { name: "32 bytes".into(), remark: "1 < 2".into(), values };
        let picture = bars("t", &[of([Some(5e8), Some(1e9)]), of([Some(2.5e8), None])]);
        let heights: Vec<f64> = picture
            .lines()
            .filter(|line| line.starts_with("<rect x") && !line.contains("width=\"14\""))
            .map(|line| line.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(heights.len(), 3, "{picture}");
        assert!((heights[1] - 2.0 * heights[0]).abs() < 0.2 && (heights[0] - 2.0 * heights[2]).abs() < 0.2);
        assert!((heights[1] - (svg::HEIGHT - TOP - BOTTOM)).abs() < 0.2, "the highest reaches the top");
        assert!(picture.contains("1 &lt; 2") && picture.contains(">500<"), "{picture}");
    }

    #[test]
    fn nothing_makes_a_picture_without_bars() {
        let picture = bars("t", &[]);
        assert!(picture.ends_with("</svg>\n") && !picture.contains("NaN"), "{picture}");
    }
}
