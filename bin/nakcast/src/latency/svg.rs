//! What the pictures have in common.

use std::fmt::Write;

/// The picture, pixels.
pub(crate) const WIDTH: f64 = 900.0;
pub(crate) const HEIGHT: f64 = 520.0;
/// A line of the legend.
pub(crate) const LEGEND_LINE: f64 = 18.0;
/// Told apart by people who see colours differently, too.
pub(crate) const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// What ends it.
pub(crate) const END: &str = "</svg>\n";

/// What begins it.
pub(crate) fn begin() -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

pub(crate) fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
    );
}

pub(crate) fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// A line of the legend, below the place where that begins.
pub(crate) fn legend(svg: &mut String, (left, top): (f64, f64), index: usize, colour: &str, name: &str) {
    let y = top + LEGEND_LINE * (index as f64 + 1.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
        y - 6.0
    );
    text(svg, left + 20.0, y, "start", name);
}
