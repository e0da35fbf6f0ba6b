//! Measuring: rounds over groups, interleaved, R around each.

use super::count::{Counter, counter};
use super::floor::rmw_ns;
use super::group::Group;
use super::rows::{Flavour, Row, Source, Unit, rows};
use super::samples::{DISTURBED, Sample, Verdict, judge};
use super::table::{Column, Measured, Spread, Table};
use crate::subject::{Machine, Nothing, Subject, Visitor, ours, visit_others};
use std::time::{Duration, Instant};

/// Rounds of a full run, and of a quick one.
const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 3;
/// Rounds in which columns beside ours take part.
const COLUMN_ROUNDS: usize = 3;
/// A column that took longer than this in a group sits out the next rounds.
const TOO_SLOW: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Three rounds, not nine.
    pub quick: bool,
    /// Counted rows only.
    pub counted: bool,
    /// Rows whose name contains this only.
    pub only: String,
}

/// One subject's samples of one group: a list per figure.
type Figures = Vec<Vec<Sample>>;

/// Everything measured of one group.
struct Gathered {
    flavour: Flavour,
    group: Group,
    ours: Figures,
    refusal: Option<String>,
    columns: Vec<(&'static str, Figures, Duration)>,
}

/// A row with a measurement of its own.
struct Own {
    measure: fn() -> Option<f64>,
    name: &'static str,
    samples: Vec<Sample>,
}

/// Measures all rows.
pub fn run(options: &Options) -> Table {
    let is_asked =
        |row: &Row| (row.counted || !options.counted) && row.name.contains(&options.only);
    let rows: Vec<Row> = rows().into_iter().filter(is_asked).collect();
    let mut session = Session::new(&rows);
    let rounds = if options.quick { QUICK_ROUNDS } else { ROUNDS };
    if !options.counted {
        (0..rounds).for_each(|round| session.round(round));
    }
    session.count(&rows);
    session.table(&rows)
}

struct Session {
    gathered: Vec<Gathered>,
    own: Vec<Own>,
    counted: Vec<(&'static str, Result<f64, String>)>,
    /// Every R of the run.
    rmws: Vec<f64>,
}

impl Session {
    fn new(rows: &[Row]) -> Self {
        let mut gathered: Vec<Gathered> = Vec::new();
        let mut own = Vec::new();
        for row in rows {
            if let Source::Own(measure) = row.source
                && !row.counted
            {
                own.push(Own { measure, name: row.name, samples: Vec::new() });
            }
            let Source::Group(flavour, group, _) = row.source else {
                continue;
            };
            if gathered.iter().any(|known| (known.flavour, known.group) == (flavour, group)) {
                continue;
            }
            let (ours, refusal, columns) = (Vec::new(), None, Vec::new());
            gathered.push(Gathered { flavour, group, ours, refusal, columns });
        }
        // The first of a process is slow: not kept.
        rmw_ns();
        Self { gathered, own, counted: Vec::new(), rmws: Vec::new() }
    }

    /// Measures R and keeps it.
    fn floor(&mut self) -> f64 {
        let rmw = rmw_ns();
        self.rmws.push(rmw);
        rmw
    }

    fn round(&mut self, round: usize) {
        self.floor();
        for index in 0..self.gathered.len() {
            let Gathered { flavour, group, .. } = self.gathered[index];
            match flavour {
                Flavour::Bare => self.ours::<ours::Main>(index, group),
                Flavour::Raw => self.ours::<ours::Raw>(index, group),
                Flavour::Loose => self.ours::<ours::Loose>(index, group),
            }
            if round < COLUMN_ROUNDS && flavour == Flavour::Bare && group.has_peers() {
                let mut columns = Columns { session: self, index, group };
                columns.visit::<Nothing>();
                if group.has_floor() {
                    columns.visit::<Machine>();
                }
                visit_others(&mut columns);
            }
        }
        for index in 0..self.own.len() {
            let before = self.floor();
            let value = (self.own[index].measure)();
            let rmw_ns = before.max(self.floor());
            self.own[index].samples.extend(value.map(|value| Sample { value, rmw_ns }));
        }
    }

    fn ours<S: Subject>(&mut self, index: usize, group: Group) {
        let before = *self.rmws.last().unwrap_or(&f64::INFINITY);
        let figures = group.run::<S>();
        let after = self.floor();
        match figures {
            Ok(figures) => keep(&mut self.gathered[index].ours, &figures, before, after),
            Err(error) => self.gathered[index].refusal = Some(error.to_string()),
        }
    }

    /// Counts, once: it is exact.
    fn count(&mut self, rows: &[Row]) {
        let Some(mut counter) = counter() else {
            return;
        };
        let counter: &mut dyn Counter = &mut *counter;
        for row in rows {
            let value = match row.source {
                Source::Counted(what) => {
                    what.run::<ours::Main>(counter).map_err(|error| error.to_string())
                }
                Source::Own(count) if row.counted => match count() {
                    Some(value) => Ok(value),
                    None => continue,
                },
                _ => continue,
            };
            self.counted.push((row.name, value));
        }
    }

    fn table(&self, rows: &[Row]) -> Table {
        let mut rmws = self.rmws.clone();
        if rmws.is_empty() {
            rmws.push(rmw_ns());
        }
        rmws.sort_by(f64::total_cmp);
        // Not the very least, which a moment of a faster clock would make, and
        // all the rest disturbed.
        let least = rmws[rmws.len() / 10];
        let dropped = rmws.iter().filter(|rmw| **rmw > least * DISTURBED).count();
        let spread = Spread {
            least,
            median: rmws[rmws.len() / 2],
            most: rmws[rmws.len() - 1],
            measured: rmws.len(),
            dropped,
        };
        let rows = rows.iter().map(|row| self.measured(row, least)).collect();
        Table { spread, rows }
    }

    fn measured(&self, row: &Row, least: f64) -> Measured {
        let mut measured = Measured::not_yet(*row);
        match row.source {
            Source::NotYet => {}
            Source::Own(_) if !row.counted => {
                let own = self.own.iter().find(|own| own.name == row.name);
                let samples = own.map_or(&[][..], |own| &own.samples);
                measured.judge(judge(&in_unit(samples, row.unit), least, row.gate, row.bound));
            }
            Source::Counted(_) | Source::Own(_) => {
                match self.counted.iter().find(|counted| counted.0 == row.name) {
                    Some((_, Ok(value))) => {
                        let met = row.bound.is_met(*value, row.gate);
                        let verdict = if met { Verdict::Met } else { Verdict::Missed };
                        measured.judge((Some(*value), verdict));
                    }
                    Some((_, Err(refusal))) => measured.refusal = Some(refusal.clone()),
                    None => {}
                }
            }
            Source::Group(flavour, group, figure) => {
                let is_it = |known: &&Gathered| (known.flavour, known.group) == (flavour, group);
                if let Some(gathered) = self.gathered.iter().find(is_it) {
                    gathered.fill(&mut measured, row, figure, least);
                }
            }
        }
        measured
    }
}

impl Gathered {
    fn fill(&self, measured: &mut Measured, row: &Row, figure: usize, least: f64) {
        measured.refusal.clone_from(&self.refusal);
        if let Some(samples) = self.ours.get(figure) {
            measured.judge(judge(&in_unit(samples, row.unit), least, row.gate, row.bound));
        }
        for (name, figures, _) in &self.columns {
            let Some(samples) = figures.get(figure) else {
                continue;
            };
            let (value, _) = judge(&in_unit(samples, row.unit), least, row.gate, row.bound);
            measured.columns.extend(value.map(|value| Column { name, value }));
        }
    }
}

/// Turns nanoseconds into multiples of the R beside them.
fn in_unit(samples: &[Sample], unit: Unit) -> Vec<Sample> {
    let is_told = |sample: &&Sample| sample.value.is_finite();
    let scale = |sample: &Sample| match unit {
        Unit::R => Sample { value: sample.value / sample.rmw_ns, ..*sample },
        _ => *sample,
    };
    samples.iter().filter(is_told).map(scale).collect()
}

fn keep(figures: &mut Figures, values: &[f64], before: f64, after: f64) {
    figures.resize(figures.len().max(values.len()), Vec::new());
    let rmw_ns = before.max(after);
    for (samples, value) in figures.iter_mut().zip(values) {
        samples.push(Sample { value: *value, rmw_ns });
    }
}

/// What is measured beside ours.
struct Columns<'a> {
    session: &'a mut Session,
    index: usize,
    group: Group,
}

impl Visitor for Columns<'_> {
    fn visit<S: Subject>(&mut self) {
        let columns = &self.session.gathered[self.index].columns;
        let known = columns.iter().position(|column| column.0 == S::NAME);
        if known.is_some_and(|known| columns[known].2 > TOO_SLOW) {
            return;
        }
        let before = self.session.rmws.last().copied().unwrap_or(f64::INFINITY);
        let begun = Instant::now();
        let Ok(values) = self.group.run::<S>() else {
            return;
        };
        let took = begun.elapsed();
        let after = self.session.floor();
        let columns = &mut self.session.gathered[self.index].columns;
        let at = known.unwrap_or_else(|| {
            columns.push((S::NAME, Vec::new(), took));
            columns.len() - 1
        });
        keep(&mut columns[at].1, &values, before, after);
        columns[at].2 = took;
    }
}
