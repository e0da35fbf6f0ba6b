//! The frontier as a picture: a panel per trace.

use super::run::{Figure, Panel};
use svg::Document;
use svg::node::element::{Circle, Line, Polyline, Rectangle, Text, Title};

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 48.0;
const COLUMNS: usize = 2;

/// Draws every panel: MiB faulted back to the right, upward the part of the
/// oracle's byte-seconds that was returned.
pub fn chart(panels: &[Panel]) -> Document {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) =
        (COLUMNS as f64 * (WIDTH + 2.0 * MARGIN), rows as f64 * (HEIGHT + 2.0 * MARGIN));
    let mut document = Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .add(Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff"));
    for (index, panel) in panels.iter().enumerate() {
        let left = (index % COLUMNS) as f64 * (WIDTH + 2.0 * MARGIN) + MARGIN;
        let top = (index / COLUMNS) as f64 * (HEIGHT + 2.0 * MARGIN) + MARGIN;
        document = draw(document, panel, left, top);
    }
    document
}

fn draw(mut document: Document, panel: &Panel, left: f64, top: f64) -> Document {
    let all = || panel.fixed.iter().chain(&panel.presets);
    let most = all().map(|figure| figure.refaulted).fold(1.0, f64::max) * 1.1;
    let highest = all().map(|figure| figure.of_oracle).fold(1.0, f64::max);
    let x = |figure: &Figure| left + figure.refaulted / most * WIDTH;
    let y = |part: f64| top + HEIGHT * (1.0 - part / highest);
    let bottom = top + HEIGHT;
    for part in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let shade = if part == 0.8 { "#999999" } else { "#dddddd" };
        let line = Line::new().set("x1", left).set("x2", left + WIDTH);
        let line = line.set("y1", y(part)).set("y2", y(part)).set("stroke", shade);
        document = document.add(line);
        let name = format!("{:.0} %", part * 100.0);
        document = document.add(label(left - 6.0, y(part) + 4.0, &name).set("text-anchor", "end"));
    }
    document = document
        .add(label(left, top - 14.0, &panel.name).set("font-weight", "bold"))
        .add(label(left - 6.0, bottom + 18.0, "0").set("text-anchor", "end"))
        .add(
            label(left + WIDTH, bottom + 18.0, &format!("{most:.0} MiB faulted back"))
                .set("text-anchor", "end"),
        );
    let line = panel.line();
    let points: Vec<String> =
        line.iter().map(|at| format!("{:.1},{:.1}", x(at), y(at.of_oracle))).collect();
    let line = Polyline::new().set("points", points.join(" ")).set("fill", "none");
    document = document.add(line.set("stroke", "#3366aa"));
    let presets = panel.presets.iter().map(|figure| (figure, "#cc4422", 5.0));
    let ages = panel.fixed.iter().map(|figure| (figure, "#3366aa", 3.0));
    let mut names = Names::default();
    // Presets get their names first; ages are drawn below them all the same.
    let named: Vec<_> = presets
        .chain(ages)
        .map(|(figure, fill, radius)| {
            let at = (x(figure), y(figure.of_oracle));
            (figure, fill, radius, names.place(at, radius, &figure.name))
        })
        .collect();
    for (figure, fill, radius, name) in named.into_iter().rev() {
        let told = format!(
            "{}: {:.1} GiB s, {:.0} % of the oracle, {:.1} MiB faulted back",
            figure.name,
            figure.returned,
            figure.of_oracle * 100.0,
            figure.refaulted
        );
        let dot = Circle::new().set("cx", x(figure)).set("cy", y(figure.of_oracle));
        document = document.add(dot.set("r", radius).set("fill", fill).add(Title::new(told)));
        if let Some((x, y)) = name {
            document = document.add(label(x, y, &figure.name).set("fill", fill));
        }
    }
    document
}

/// The names beside the dots of a panel: none over another.
#[derive(Default)]
struct Names {
    /// Left, right and base line.
    placed: Vec<(f64, f64, f64)>,
}

impl Names {
    /// Where the name of a dot goes: to its right, below, above or to its left,
    /// or nowhere if all of that is taken. (The dot says its name when pointed at.)
    fn place(&mut self, (x, y): (f64, f64), radius: f64, name: &str) -> Option<(f64, f64)> {
        // About as wide as the letters are.
        let width = 6.5 * name.len() as f64;
        let (aside, above) = (radius + 3.0, radius + 11.0);
        let left = x - aside - width;
        let wanted = [(x + aside, y + above), (x + aside, y - 4.0), (x + aside, y + 4.0)];
        let wanted = wanted.into_iter().chain([(left, y - 4.0), (left, y + 4.0)]);
        let is_free = |(left, base): (f64, f64)| {
            self.placed.iter().all(|&(from, to, other)| {
                left + width < from || to < left || (base - other).abs() >= 11.0
            })
        };
        let (left, base) = wanted.into_iter().find(|&at| is_free(at))?;
        self.placed.push((left, left + width, base));
        Some((left, base))
    }
}

/// Colours of eager, balanced, cold and never.
const PRESETS: [&str; 4] = ["#cc4422", "#3366aa", "#55aa55", "#999999"];

/// Draws what each preset comes to over time, a row per trace: to the left the
/// memory that is there, beside what is in use; to the right what was faulted
/// back so far. The second half of each is the idle tail.
pub fn over_time(panels: &[Panel]) -> Document {
    let (width, row) = (2.0 * (WIDTH + 2.0 * MARGIN), HEIGHT + 2.0 * MARGIN);
    let height = row * panels.len() as f64;
    let mut document = Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .add(Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff"));
    for (index, panel) in panels.iter().enumerate() {
        let top = index as f64 * row + MARGIN;
        for (at, what) in [(1, "MiB resident"), (2, "MiB faulted back")] {
            let left = MARGIN + f64::from(at - 1) * (WIDTH + 2.0 * MARGIN);
            let title = format!("{}: {what}", panel.name);
            document = document.add(label(left, top - 14.0, &title).set("font-weight", "bold"));
            document = curves(document, panel, at as usize, left, top);
        }
    }
    document
}

fn curves(mut document: Document, panel: &Panel, at: usize, left: f64, top: f64) -> Document {
    let all = || panel.presets.iter().flat_map(|figure| &figure.over_time);
    let most = all().map(|sample| sample[at]).fold(1.0, f64::max);
    let bottom = top + HEIGHT;
    let line = |samples: &[[f64; 3]], of: usize, colour: &str| {
        let step = WIDTH / samples.len().max(1) as f64;
        let points: Vec<String> = (1..)
            .zip(samples)
            .map(|(index, sample)| {
                let y = bottom - sample[of] / most * HEIGHT;
                format!("{:.1},{y:.1}", left + f64::from(index) * step)
            })
            .collect();
        let line = Polyline::new().set("points", points.join(" ")).set("fill", "none");
        line.set("stroke", colour).set("stroke-width", 1.5)
    };
    for (x1, x2, y1, y2) in [
        (left, left + WIDTH, bottom, bottom),
        (left, left, top, bottom),
        (left + WIDTH / 2.0, left + WIDTH / 2.0, top, bottom),
    ] {
        let line = Line::new().set("x1", x1).set("x2", x2).set("y1", y1).set("y2", y2);
        document = document.add(line.set("stroke", "#dddddd"));
    }
    let used = panel.presets.first().filter(|_| at == 1);
    if let Some(figure) = used {
        document = document
            .add(line(&figure.over_time, 0, "#000000").set("stroke-dasharray", "2 3"))
            .add(label(left + 340.0, bottom + 30.0, "in use"));
    }
    for (index, (figure, colour)) in (0_u8..).zip(panel.presets.iter().zip(PRESETS)) {
        let key = label(left + 80.0 * f64::from(index), bottom + 30.0, &figure.name);
        document = document.add(line(&figure.over_time, at, colour)).add(key.set("fill", colour));
    }
    document
        .add(label(left - 6.0, top + 10.0, &format!("{most:.0}")).set("text-anchor", "end"))
        .add(label(left + WIDTH / 2.0 + 4.0, bottom + 14.0, "idle tail"))
}

fn label(x: f64, y: f64, text: &str) -> Text {
    let text = Text::new(text).set("x", x).set("y", y);
    text.set("font-family", "sans-serif").set("font-size", 11)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_over_another() {
        let mut names = Names::default();
        let placed: Vec<_> = (0..9).map(|_| names.place((50.0, 50.0), 3.0, "10 s")).collect();
        assert!(placed[0].is_some() && placed[1].is_some(), "{placed:?}");
        assert_eq!(placed[8], None, "no room is left about one dot");
        let bases: Vec<_> = names.placed.clone();
        for (index, one) in bases.iter().enumerate() {
            for other in &bases[..index] {
                let apart = one.1 < other.0 || other.1 < one.0;
                assert!(apart || (one.2 - other.2).abs() >= 11.0, "{one:?} and {other:?}");
            }
        }
        assert!(names.place((500.0, 50.0), 5.0, "eager").is_some());
    }
}
