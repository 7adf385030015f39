//! Figures and latency curves as pictures, in SVG.

use std::fmt::Write as _;

use crate::figure::{Figure, Value};
use crate::report::title;

/// How latency spreads in one run: pairs of share and seconds, in order.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Curve {
    pub(crate) peer: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 460.0;
const BAR: f64 = 20.0;
/// Where bars begin, and how long the longest may be; the rest is for its number.
const LEFT: f64 = 100.0;
const LONGEST: f64 = 260.0;
const COLUMNS: usize = 2;

/// A panel for each figure: a bar for each peer, and a line where Ambit's should end at most or reach at least.
pub(crate) fn bars(figures: &[Figure]) -> String {
    let rows = figures.chunks(COLUMNS);
    let mut body = String::new();
    let mut top = 0.0;
    for row in rows {
        for (figure, column) in row.iter().zip(0u8..) {
            let left = WIDTH * f64::from(column);
            let _ = writeln!(body, r#"<g transform="translate({left},{top})">"#);
            panel(&mut body, figure);
            body.push_str("</g>\n");
        }
        top += row.iter().map(height).fold(0.0, f64::max);
    }
    picture(WIDTH * COLUMNS as f64, top, &body)
}

fn height(figure: &Figure) -> f64 {
    46.0 + BAR * figure.values.len() as f64
}

fn panel(body: &mut String, figure: &Figure) {
    let limit = figure.limit();
    let values = figure.values.iter().map(|value| value.value);
    let most = values.chain(limit).fold(f64::MIN_POSITIVE, f64::max);
    let length = |value: f64| LONGEST * (value / most).clamp(0.0, 1.0);
    text(body, (8.0, 20.0), "bold", &figure.title);
    let mut y = 28.0;
    for Value { peer, value } in &figure.values {
        text(body, (8.0, y + 14.0), "normal", title(peer));
        let (width, colour) = (length(*value), colour(peer));
        let _ = writeln!(
            body,
            r#"<rect x="{LEFT}" y="{}" width="{width:.1}" height="{}" fill="{colour}"/>"#,
            y + 2.0,
            BAR - 4.0
        );
        text(body, (LEFT + width + 6.0, y + 14.0), "normal", &figure.unit.text(*value));
        y += BAR;
    }
    if let Some(limit) = limit {
        let x = LEFT + length(limit);
        line(body, &[(x, 26.0), (x, y + 2.0)], ("#d00", r#"stroke-dasharray="4 3""#));
    }
}

/// Latency over the share of requests that are no slower, both logarithmic: every step to the right is a nine.
pub(crate) fn curves(heading: &str, curves: &[Curve]) -> String {
    const SIZE: (f64, f64) = (640.0, 360.0);
    const FRAME: (f64, f64, f64, f64) = (70.0, 40.0, 520.0, 310.0);
    const SHARES: [(f64, &str); 5] =
        [(0.0, "0 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
    let seconds = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let lowest = seconds().fold(f64::INFINITY, f64::min).clamp(1e-6, 1.0).log10().floor();
    let highest = seconds().fold(0.0, f64::max).max(1e-5).log10().ceil().max(lowest + 1.0);
    let (left, top, right, bottom) = FRAME;
    let x = |share: f64| {
        left + (right - left) * (-(1.0 - share).max(1e-5).log10() / 4.0).clamp(0.0, 1.0)
    };
    let y = |seconds: f64| {
        let part = (seconds.max(1e-6).log10() - lowest) / (highest - lowest);
        bottom - (bottom - top) * part.clamp(0.0, 1.0)
    };
    let mut body = String::new();
    text(&mut body, (8.0, 20.0), "bold", heading);
    for (share, name) in SHARES {
        line(&mut body, &[(x(share), top), (x(share), bottom)], ("#ddd", ""));
        text(&mut body, (x(share) - 14.0, bottom + 18.0), "normal", name);
    }
    for decade in lowest as i32..=highest as i32 {
        let value = 10f64.powi(decade);
        line(&mut body, &[(left, y(value)), (right, y(value))], ("#ddd", ""));
        text(&mut body, (8.0, y(value) + 4.0), "normal", &crate::figure::Unit::Seconds.text(value));
    }
    for (curve, row) in curves.iter().zip(0u8..) {
        let points: Vec<_> = curve.points.iter().map(|(share, s)| (x(*share), y(*s))).collect();
        line(&mut body, &points, (colour(curve.peer), r#"stroke-width="2""#));
        let legend = top + 16.0 * f64::from(row);
        line(
            &mut body,
            &[(right + 8.0, legend), (right + 22.0, legend)],
            (colour(curve.peer), r#"stroke-width="2""#),
        );
        text(&mut body, (right + 26.0, legend + 4.0), "normal", title(curve.peer));
    }
    picture(SIZE.0, SIZE.1, &body)
}

fn picture(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn text(body: &mut String, (x, y): (f64, f64), weight: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(body, r#"<text x="{x:.1}" y="{y:.1}" font-weight="{weight}">{text}</text>"#);
}

fn line(body: &mut String, points: &[(f64, f64)], (colour, more): (&str, &str)) {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let points = points.join(" ");
    let _ = writeln!(body, r#"<polyline points="{points}" fill="none" stroke="{colour}" {more}/>"#);
}

fn colour(peer: &str) -> &'static str {
    match peer {
        "bare" => "#999",
        "ambit" => "#2a7",
        _ => "#c83",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Bar, Limit, Unit};

    #[test]
    fn bars_end_in_proportion_and_the_line_stands_at_the_aim() {
        let figure = Figure::new(
            "a < b",
            Unit::Bytes,
            [("ambit", Some(5e6)), ("peer", Some(10e6))],
            Some(Bar::Ratio(Limit::AtMost(0.6))),
        );
        let svg = bars(&[figure.clone(), figure]);
        assert!(svg.contains("a &lt; b") && svg.contains("5.00 MB"), "{svg}");
        assert_eq!(svg.matches(r##"width="130.0" height="16" fill="#2a7""##).count(), 2, "{svg}");
        assert_eq!(svg.matches(r#"points="256.0,26.0 256.0,70.0""#).count(), 2, "{svg}");
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }

    #[test]
    fn curves_rise_to_the_right() {
        let curve = Curve { peer: "ambit", points: vec![(0.0, 1e-3), (0.9, 2e-3), (0.99, 1e-2)] };
        let svg = curves("latency", &[curve]);
        let points = svg.lines().find(|line| line.contains("#2a7")).unwrap();
        assert!(points.contains(r#"points="70.0,310.0 182.5,"#), "{points}");
        assert!(points.contains("295.0,40.0"), "the slowest is at the top: {points}");
    }
}
