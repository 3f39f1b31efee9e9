//! The ratios of a comparison as a bar chart.
//!
//! In: names and ratios. Out: an SVG.
//!
//! Always true:
//! * bars are to one scale, and a ratio of 1 is marked.
//!
//! Not here: the ratios (`rows`).

use std::fmt::Write as _;

/// Places and sizes, in pixels.
const WIDTH: f64 = 860.0;
const BARS_AT: f64 = 300.0;
const BARS_WIDTH: f64 = 480.0;
const ROW_HEIGHT: f64 = 26.0;
const BAR_HEIGHT: f64 = 16.0;
const TOP: f64 = 48.0;

/// Draws a bar for each ratio.
pub fn draw(ratios: &[(&str, f64)]) -> String {
    let most = ratios.iter().map(|(_, ratio)| *ratio).fold(1.0, f64::max);
    let scale = BARS_WIDTH / most;
    let height = TOP + ROW_HEIGHT * (ratios.len() as f64 + 0.5);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\">Quorate: how many times better than ZooKeeper</text>\n"
    );
    for (at, (name, ratio)) in ratios.iter().enumerate() {
        let y = TOP + ROW_HEIGHT * at as f64;
        let middle = y + BAR_HEIGHT - 3.0;
        let (width, end) = (ratio * scale, BARS_AT + ratio * scale + 6.0);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{BARS_AT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" fill=\"#3465a4\"/>\n\
             <text x=\"{end:.1}\" y=\"{middle}\">{ratio:.1}×</text>",
            BARS_AT - 8.0,
            escape(name)
        )
        .expect("a string takes what is written");
    }
    let one = BARS_AT + scale;
    writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"{}\" x2=\"{one:.1}\" y2=\"{height}\" stroke=\"#cc0000\" stroke-dasharray=\"3\"/>\n</svg>",
        TOP - 6.0
    )
    .expect("a string takes what is written");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_to_one_scale() {
        let svg = draw(&[("reads <64>", 8.0), ("sets", 2.0)]);
        assert!(svg.contains("reads &lt;64&gt;") && svg.contains("width=\"480.0\""), "{svg}");
        assert!(svg.contains("width=\"120.0\"") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
