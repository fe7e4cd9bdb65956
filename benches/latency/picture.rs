//! Panels of curves, as an SVG picture: per cent of loss from left to right, latency upwards on a logarithmic scale.

use super::PERCENTILES;
use std::fmt::Write;

/// Pixels: a panel's curves, and the room around them.
const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 34.0;
/// Below the curves: the scale, and a line for each row of figures.
const SCALE: f64 = 18.0;
const ROW: f64 = 13.0;
const ROWS: usize = 2;
const BOTTOM: f64 = SCALE + ROW * ROWS as f64 + 6.0;
/// Above the panels, and below.
const HEAD: f64 = 58.0;
const FOOT: f64 = 26.0;
/// The most loss there is, per cent.
const MOST_LOSS: f64 = 20.0;
/// Told apart by people who see colours differently, too.
const COLOURS: [&str; PERCENTILES.len()] = ["#0072b2", "#009e73", "#e69f00", "#d55e00"];

/// How something goes with the loss.
pub(super) struct Curve {
    /// Per cent of loss, and microseconds.
    pub(super) points: Vec<(f64, f64)>,
    pub(super) colour: usize,
    pub(super) dashed: bool,
}

/// What is drawn together.
#[derive(Default)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) curves: Vec<Curve>,
    /// Figures below the curves, each at its loss.
    pub(super) rows: Vec<(String, Vec<(f64, String)>)>,
}

pub(super) struct Picture {
    pub(super) title: String,
    pub(super) columns: usize,
    /// What solid and dashed curves are.
    pub(super) styles: [&'static str; 2],
    pub(super) panels: Vec<Panel>,
}

impl Picture {
    /// The picture. All its panels have the same scale.
    pub(super) fn svg(&self) -> String {
        let (across, down) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
        let lines = self.panels.len().div_ceil(self.columns);
        let (width, height) = (across * self.columns as f64, HEAD + down * lines as f64 + FOOT);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let _ = writeln!(svg, "<g font-size=\"14\">");
        text(&mut svg, (width / 2.0, 22.0), "middle", &self.title);
        svg.push_str("</g>\n");
        self.legend(&mut svg);
        let decades = self.decades();
        for (number, panel) in self.panels.iter().enumerate() {
            let (column, line) = (number % self.columns, number / self.columns);
            let at = (across * column as f64 + LEFT, HEAD + down * line as f64 + TOP);
            panel.draw(&mut svg, at, decades);
        }
        text(
            &mut svg,
            (width / 2.0, height - 10.0),
            "middle",
            "datagrams lost on the way to the subscriber, %",
        );
        svg.push_str("</svg>\n");
        svg
    }

    fn legend(&self, svg: &mut String) {
        let y = 42.0;
        let mut x = LEFT;
        for ((name, _), colour) in PERCENTILES.iter().zip(COLOURS) {
            stroke(svg, colour, false, &[(x, y), (x + 24.0, y)]);
            text(svg, (x + 30.0, y + 4.0), "start", name);
            x += 85.0;
        }
        for (style, dashed) in self.styles.iter().zip([false, true]) {
            stroke(svg, "#555555", dashed, &[(x, y), (x + 30.0, y)]);
            text(svg, (x + 36.0, y + 4.0), "start", style);
            x += 52.0 + 6.2 * style.len() as f64;
        }
    }

    /// The powers of ten, in microseconds, that enclose all there is.
    fn decades(&self) -> (i32, i32) {
        let points = || self.panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points);
        let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min).clamp(0.1, 1e9);
        let most = points().map(|point| point.1).fold(least, f64::max);
        (least.log10().floor() as i32, most.log10().ceil() as i32)
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, (left, top): (f64, f64), (low, high): (i32, i32)) {
        let x = |loss: f64| left + WIDTH * loss / MOST_LOSS;
        let y = |micros: f64| {
            let up = (micros.max(0.1).log10() - f64::from(low)) / f64::from((high - low).max(1));
            top + HEIGHT * (1.0 - up)
        };
        let _ = writeln!(svg, "<g font-size=\"12\" font-weight=\"bold\">");
        text(svg, (left, top - 9.0), "start", &self.title);
        svg.push_str("</g>\n");
        for decade in low..=high {
            let at = y(10_f64.powi(decade));
            grid(svg, (left, at), (left + WIDTH, at), "#cccccc");
            text(svg, (left - 6.0, at + 4.0), "end", &unit(decade));
            if decade < high {
                for part in 2..10 {
                    let at = y(10_f64.powi(decade) * f64::from(part));
                    grid(svg, (left, at), (left + WIDTH, at), "#f0f0f0");
                }
            }
        }
        for loss in super::LOSSES {
            grid(svg, (x(loss), top), (x(loss), top + HEIGHT), "#e4e4e4");
            // One and two per cent lie close to none.
            if loss != 1.0 {
                text(svg, (x(loss), top + HEIGHT + 13.0), "middle", &format!("{loss}"));
            }
        }
        for curve in &self.curves {
            let points: Vec<_> = curve.points.iter().map(|&(loss, micros)| (x(loss), y(micros))).collect();
            stroke(svg, COLOURS[curve.colour], curve.dashed, &points);
        }
        let _ = writeln!(svg, "<g font-size=\"9\" fill=\"#555555\">");
        for (number, (name, figures)) in self.rows.iter().take(ROWS).enumerate() {
            let below = top + HEIGHT + SCALE + ROW * (number as f64 + 0.8);
            text(svg, (left - 16.0, below), "end", name);
            for (loss, figure) in figures {
                // As with the scale.
                if *loss != 1.0 {
                    text(svg, (x(*loss), below), "middle", &format!("{figure}%"));
                }
            }
        }
        svg.push_str("</g>\n");
    }
}

/// A power of ten, given in microseconds.
fn unit(decade: i32) -> String {
    match decade {
        6.. => format!("{} s", 10_u64.pow(decade as u32 - 6)),
        3..6 => format!("{} ms", 10_u64.pow(decade as u32 - 3)),
        0..3 => format!("{} us", 10_u64.pow(decade as u32)),
        _ => format!("{} us", 10_f64.powi(decade)),
    }
}

fn grid(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

fn stroke(svg: &mut String, colour: &str, dashed: bool, points: &[(f64, f64)]) {
    let dashes = if dashed { " stroke-dasharray=\"5 3\"" } else { "" };
    let _ = write!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dashes} points=\"");
    for (number, (x, y)) in points.iter().enumerate() {
        let _ = write!(svg, "{}{x:.1},{y:.1}", if number > 0 { " " } else { "" });
    }
    svg.push_str("\"/>\n");
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}
