//! Memory over time: what is resident, and what went back so far.
//!
//! # What always holds
//!
//! Moments are in order of time, bytes given back never shrink, and the last
//! moment is after the final report. There are at most [`KEPT`], and a few that
//! mark an event: once there are as many, every other one goes, and from then on
//! they are taken half as often, so that all of a run is equally fine.

use super::world::World;
use core::fmt;
use serde::Serialize;
use std::time::{Duration, Instant};
use svg::node::element::{Group, Line, Polygon, Polyline, Rectangle, Text, Title};

/// Moments that are kept.
const KEPT: usize = 256;
/// From one to the next, at first.
const STEP: Duration = Duration::from_millis(5);
/// Characters of a row of text, and what they are for none to all.
const COLUMNS: u32 = 60;
const SHADES: &[u8] = b" .:-=+*#%@";

const RESIDENT: &str = "#4e79a7";
const REPORTED: &str = "#d37222";
/// Pixels for the curves.
const HEIGHT: f64 = 90.0;

/// The memory at one moment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// Since the guests began.
    pub seconds: f64,
    /// Bytes of the memfd that have memory.
    pub resident_bytes: u64,
    /// Bytes that went back to the system until now.
    pub reported_bytes: u64,
}

/// The moments of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    moments: Vec<Moment>,
    /// The most that was resident.
    pub(super) peak: u64,
}

/// Takes them.
#[derive(Debug)]
pub(super) struct Recorder {
    began: Instant,
    step: Duration,
    due: Duration,
    pub(super) history: History,
}

impl Recorder {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, step: STEP, due: Duration::ZERO, history: History::default() }
    }

    /// Looks, and keeps what it sees if it is time to; returns it.
    pub(super) fn look(&mut self, world: &World) -> Moment {
        let now = self.began.elapsed();
        if now < self.due {
            let moment = moment(world, now, world.host.reclaim.bytes());
            self.history.peak = self.history.peak.max(moment.resident_bytes);
            return moment;
        }
        self.due = now + self.step;
        if self.history.moments.len() >= KEPT {
            self.history.thin();
            self.step *= 2;
        }
        self.mark(world, world.host.reclaim.bytes())
    }

    /// Keeps a moment that matters; `reported` is what went back until now.
    pub(super) fn mark(&mut self, world: &World, reported: u64) -> Moment {
        let moment = moment(world, self.began.elapsed(), reported);
        self.history.push(moment);
        moment
    }
}

fn moment(world: &World, now: Duration, reported_bytes: u64) -> Moment {
    let resident_bytes = world.host.ram.resident();
    Moment { seconds: now.as_secs_f64(), resident_bytes, reported_bytes }
}

impl History {
    fn push(&mut self, moment: Moment) {
        self.peak = self.peak.max(moment.resident_bytes);
        self.moments.push(moment);
    }

    fn thin(&mut self) {
        let mut keep = false;
        self.moments.retain(|_| {
            keep = !keep;
            keep
        });
    }

    pub(super) fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Seconds, bytes resident at most, and bytes that went back.
    fn most(&self) -> (f64, u64, u64) {
        let last = self.moments.last();
        (
            last.map_or(0.0, |last| last.seconds).max(1e-3),
            self.peak.max(1),
            last.map_or(0, |last| last.reported_bytes).max(1),
        )
    }

    /// The curves, and where they end; the replay took `replayed` seconds.
    pub(super) fn draw(&self, left: f64, top: f64, width: f64, replayed: f64) -> (Group, f64) {
        let (end, resident, reported) = self.most();
        let (high, low) = (top + 40.0, top + 40.0 + HEIGHT);
        let x = |seconds: f64| left + width * (seconds / end).min(1.0);
        let curve = |of: fn(&Moment) -> u64, most: u64| -> Vec<String> {
            let point = |moment: &Moment| {
                let y = low - HEIGHT * of(moment) as f64 / most as f64;
                format!("{:.1},{y:.1}", x(moment.seconds))
            };
            self.moments.iter().map(point).collect()
        };
        let there = curve(|moment| moment.resident_bytes, resident);
        let area = format!("{left:.1},{low:.1} {} {:.1},{low:.1}", there.join(" "), left + width);
        let back = curve(|moment| moment.reported_bytes, reported).join(" ");
        let frame = Rectangle::new().set("x", left).set("y", high).set("width", width);
        let frame = frame.set("height", HEIGHT).set("fill", "none").set("stroke", "#cccccc");
        let line = Polyline::new().set("fill", "none").set("stroke-width", 1.5);
        let over = Line::new().set("x1", x(replayed)).set("x2", x(replayed));
        let over = over.set("y1", high).set("y2", low).set("stroke", "#888888");
        let over = over.set("stroke-dasharray", "4 3").add(Title::new("the guests are through"));
        let resident = format!("resident memory of the memfd, at most {} MiB", resident >> 20);
        let reported = format!("given back so far, {} MiB in all", reported >> 20);
        let group = Group::new()
            .add(text(left, top + 14.0, "memory over time, each curve to its own scale"))
            .add(text(left, top + 32.0, &resident).set("fill", RESIDENT))
            .add(text(left + width / 2.0, top + 32.0, &reported).set("fill", REPORTED))
            .add(Polygon::new().set("points", area).set("fill", RESIDENT).set("opacity", 0.2))
            .add(frame)
            .add(over)
            .add(line.clone().set("points", there.join(" ")).set("stroke", RESIDENT))
            .add(line.set("points", back).set("stroke", REPORTED))
            .add(text(left, low + 16.0, "0"))
            .add(
                text(left + width, low + 16.0, &format!("{end:.2} s, after the final report"))
                    .set("text-anchor", "end"),
            );
        (group, low + 28.0)
    }

    /// A character for each of [`COLUMNS`] equal times: the value at its end.
    fn row(&self, of: impl Fn(&Moment) -> u64, most: u64) -> String {
        let (end, ..) = self.most();
        let mut moments = self.moments.iter().peekable();
        let mut value = 0;
        let shade = |value: u64| {
            let steps = SHADES.len() as u128 - 1;
            // Something is never shown as nothing.
            SHADES[(u128::from(value) * steps).div_ceil(most.into()).min(steps) as usize]
        };
        let mut row = String::new();
        for column in 1..=COLUMNS {
            let until = end * f64::from(column) / f64::from(COLUMNS);
            let is_in = |moment: &&Moment| column == COLUMNS || moment.seconds <= until;
            while let Some(moment) = moments.next_if(is_in) {
                value = of(moment);
            }
            row.push(shade(value).into());
        }
        row
    }
}

/// Two rows of text.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (end, resident, reported) = self.most();
        let there = self.row(|moment| moment.resident_bytes, resident);
        let back = self.row(|moment| moment.reported_bytes, reported);
        writeln!(f, "over time {end:.2} s, up to the final report; '@' is the most of a row")?;
        writeln!(f, "  resident  [{there}] most {} MiB", resident >> 20)?;
        writeln!(f, "  reported  [{back}] in all {} MiB", reported >> 20)
    }
}

fn text(x: f64, y: f64, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("font-size", 12)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run of ten seconds: up, some back, and down at the end.
    pub(in crate::vmm) fn sample() -> History {
        let mut history = History::default();
        for (seconds, resident, reported) in
            [(0.0, 0, 0), (5.0, 90 << 20, 0), (9.0, 60 << 20, 30 << 20), (10.0, 0, 90 << 20)]
        {
            let (resident_bytes, reported_bytes) = (resident, reported);
            history.push(Moment { seconds, resident_bytes, reported_bytes });
        }
        history
    }

    #[test]
    fn the_rows_begin_and_end_as_the_run_did() {
        let text = sample().to_string();
        let rows: Vec<&str> = text.lines().collect();
        // Nothing for 5 of 10 s, all for 4, two thirds for one, and nothing.
        let row = format!(
            "  resident  [{}{}{} ] most 90 MiB",
            " ".repeat(29),
            "@".repeat(24),
            "*".repeat(6)
        );
        assert_eq!(rows[1], row);
        let row = format!("  reported  [{}{}@] in all 90 MiB", " ".repeat(53), "-".repeat(6));
        assert_eq!(rows[2], row);
    }

    #[test]
    fn what_is_thinned_keeps_its_order_and_its_peak() {
        let mut history = sample();
        history.thin();
        let seconds: Vec<f64> = history.moments().iter().map(|moment| moment.seconds).collect();
        assert_eq!((seconds, history.peak), (vec![0.0, 9.0], 90 << 20));
    }

    #[test]
    fn nothing_at_all_can_be_drawn_and_told() {
        let history = History::default();
        let (group, below) = history.draw(16.0, 10.0, 100.0, 0.0);
        assert!(!group.to_string().contains("NaN"));
        assert!(below > 10.0 && history.to_string().contains("most 0 MiB"));
    }
}
