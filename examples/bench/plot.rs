//! Latency over throughput, as an SVG: both axes logarithmic, one point for each run.

use std::fmt::Write;
use std::path::Path;

use crate::processes;
use crate::wanted::Wanted;

struct Point {
    label: String,
    rate: f64,
    latencies: [f64; 4],
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
/// Left, right, top, bottom.
const MARGINS: [f64; 4] = [80.0, 30.0, 60.0, 60.0];
const CURVES: [(&str, &str); 3] = [("p50", "#1b6ca8"), ("p99", "#d1495b"), ("p99.9", "#66a182")];

/// A run for each value of `--over`, and a picture of them.
pub fn run(wanted: &Wanted, file: &Path) -> Result<(), String> {
    let (key, values) = &wanted.over;
    let mut points = Vec::new();
    for value in values {
        let figures = processes::run(&wanted.with(key, value)?)?;
        figures.verdict()?;
        let [p50, p99, p999, max] = figures.latencies_us;
        println!(
            "{key} {value:>7}: {:>9.0} entries/s, p50 {p50:>9.1} µs, p99 {p99:>9.1} µs, p99.9 {p999:>9.1} µs, max {max:>9.1} µs; CPU per entry {} ns",
            figures.entries_per_second,
            figures
                .cpu_ns_per_entry
                .iter()
                .map(|ns| format!("{ns:.0}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        points.push(Point {
            label: value.clone(),
            rate: figures.entries_per_second,
            latencies: figures.latencies_us,
        });
    }
    let fixed = [
        ("members", format!("{} members", wanted.members)),
        ("body", format!("{} bytes", wanted.body)),
        ("flush", format!("flush={}", wanted.flush)),
    ];
    let fixed: Vec<&str> = fixed.iter().filter(|(k, _)| k != key).map(|(_, t)| &**t).collect();
    let title =
        format!("{}: latency over throughput, {key} {}", fixed.join(", "), values.join(", "));
    std::fs::write(file, draw(&title, &points)).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// Decades around the values.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (low, high) = values
            .map(|value| value.max(1e-3).log10())
            .fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        Axis { low: low.floor(), high: high.ceil().max(low.floor() + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.max(1e-3).log10() - self.low) / (self.high - self.low);
        self.from + part * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

fn draw(title: &str, points: &[Point]) -> String {
    let [left, right, top, bottom] = MARGINS;
    let x = Axis::around(points.iter().map(|p| p.rate), left, WIDTH - right);
    let latencies = points.iter().flat_map(|p| p.latencies[..3].iter().copied());
    let y = Axis::around(latencies, HEIGHT - bottom, top);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"26\" font-size=\"15\">{title}</text>\n"
    );
    for decade in x.decades() {
        let at = x.at(decade);
        writeln!(svg, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", y.from, y.from + 18.0, rate(decade)).unwrap();
    }
    for decade in y.decades() {
        let at = y.at(decade);
        writeln!(svg, "<line x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", x.to, left - 8.0, at + 4.0, time(decade)).unwrap();
    }
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">entries/s</text>",
        (x.from + x.to) / 2.0,
        HEIGHT - 14.0
    )
    .unwrap();
    for (n, (name, color)) in CURVES.iter().enumerate() {
        let path: Vec<String> = points
            .iter()
            .map(|p| format!("{:.1},{:.1}", x.at(p.rate), y.at(p.latencies[n])))
            .collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            path.join(" ")
        )
        .unwrap();
        for p in points {
            writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{color}\"/>",
                x.at(p.rate),
                y.at(p.latencies[n])
            )
            .unwrap();
        }
        let at = left + 90.0 * n as f64;
        writeln!(svg, "<rect x=\"{at}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{color}\"/><text x=\"{}\" y=\"49\">{name}</text>", at + 18.0).unwrap();
    }
    for p in points {
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            x.at(p.rate),
            y.at(p.latencies[0]) + 20.0,
            p.label
        )
        .unwrap();
    }
    svg + "</svg>\n"
}

fn rate(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.0} M", v / 1e6),
        v if v >= 1e3 => format!("{:.0} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

fn time(us: f64) -> String {
    match us {
        v if v >= 1e6 => format!("{:.0} s", v / 1e6),
        v if v >= 1e3 => format!("{:.0} ms", v / 1e3),
        v => format!("{v} µs"),
    }
}
