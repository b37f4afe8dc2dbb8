//! How cost grows with the number of sessions, as an SVG that reads on light and on dark.

use std::fmt::Write;

/// One line of a panel: a name, and (sessions, figure) from left to right.
pub struct Line {
    pub name: String,
    pub points: Vec<(usize, f64)>,
}

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.grid{stroke:#ccc}\
                     .line{fill:none;stroke-width:2}.s0{stroke:#8a8a8a}.s1{stroke:#0a58ca}.s2{stroke:#b3261e}\
                     .s3{stroke:#1a7f37}.s4{stroke:#8250df}.d0{fill:#8a8a8a}.d1{fill:#0a58ca}.d2{fill:#b3261e}\
                     .d3{fill:#1a7f37}.d4{fill:#8250df}@media(prefers-color-scheme:dark){text{fill:#ddd}\
                     .grid{stroke:#444}.s1{stroke:#6ea8fe}.d1{fill:#6ea8fe}.s2{stroke:#ff8a80}.d2{fill:#ff8a80}\
                     .s3{stroke:#57ab5a}.d3{fill:#57ab5a}.s4{stroke:#b083f0}.d4{fill:#b083f0}}";
/// Of a panel, in pixels; around it is room for text.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 180.0;

/// Panels side by side. Both axes are logarithmic: a factor is the same distance everywhere.
pub fn svg(panels: &[(&str, Vec<Line>)]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} 285\" role=\"img\"><style>{STYLE}</style>\n",
        panels.len() * 400,
    );
    for (index, (title, lines)) in panels.iter().enumerate() {
        let _ = write!(out, "<g transform=\"translate({} 40)\">", 60 + index * 400);
        let _ = writeln!(out, "<text class=\"title\" y=\"-18\">{title}</text>");
        panel(&mut out, lines);
        out += "</g>\n";
    }
    out + "</svg>\n"
}

fn panel(out: &mut String, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points).filter(|(_, figure)| *figure > 0.0);
    let [left, right] =
        [usize::min, usize::max].map(|pick| points().map(|point| point.0).reduce(pick).unwrap_or(1) as f64);
    let [low, high] = [f64::min, f64::max].map(|pick| points().map(|point| point.1).reduce(pick).unwrap_or(1.0));
    let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
    let share = |value: f64, from: f64, to: f64| (value / from).ln() / (to / from).ln().max(f64::EPSILON);
    let x = |sessions: f64| share(sessions, left, right) * WIDTH;
    let y = |figure: f64| HEIGHT - share(figure, low, high) * HEIGHT;
    let mut tick = low;
    while tick <= high * 1.001 {
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M0 {0:.1}h{WIDTH}\"/><text x=\"-8\" y=\"{1:.1}\" text-anchor=\"end\">{tick}</text>",
            y(tick),
            y(tick) + 4.0
        );
        tick *= 10.0;
    }
    for &(sessions, _) in lines.first().map_or(&[][..], |line| &line.points) {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{sessions}</text>",
            x(sessions as f64),
            HEIGHT + 18.0
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|&(sessions, figure)| format!("{:.1} {:.1}", x(sessions as f64), y(figure)))
            .collect();
        let _ = writeln!(out, "<path class=\"line s{}\" d=\"M{}\"/>", index % 5, path.join("L"));
        let (at, top) = ((index % 3) as f64 * 110.0, HEIGHT + 38.0 + (index / 3) as f64 * 18.0);
        let _ = writeln!(
            out,
            "<circle class=\"d{}\" cx=\"{:.0}\" cy=\"{:.0}\" r=\"4\"/><text x=\"{:.0}\" y=\"{top:.0}\">{}</text>",
            index % 5,
            at,
            top - 4.0,
            at + 9.0,
            line.name
        );
    }
}
