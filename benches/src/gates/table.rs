//! What the gates came to, for people and for machines.

use super::rows::{Bound, Row};
use super::samples::Verdict;
use crate::subject::{HARNESS, MACHINE};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// A figure beside ours.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) value: f64,
}

/// A row with its figure.
#[derive(Clone, Debug)]
pub struct Measured {
    row: Row,
    value: Option<f64>,
    verdict: Verdict,
    /// Why the subject could not take part.
    pub(super) refusal: Option<String>,
    pub(super) columns: Vec<Column>,
}

impl Measured {
    pub(super) fn not_yet(row: Row) -> Self {
        let (verdict, columns) = (Verdict::NotYet, Vec::new());
        Self { row, value: None, verdict, refusal: None, columns }
    }

    pub(super) fn judge(&mut self, (value, verdict): (Option<f64>, Verdict)) {
        (self.value, self.verdict) = (value, verdict);
    }

    /// The gate.
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// The figure, in the row's unit.
    pub fn value(&self) -> Option<f64> {
        self.value
    }

    /// What it came to.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("Row", 6)?;
        row.serialize_field("name", self.row.name)?;
        row.serialize_field("value", &self.value)?;
        row.serialize_field("unit", self.row.unit.name())?;
        row.serialize_field("gate", &self.row.gate)?;
        row.serialize_field("verdict", &self.verdict)?;
        row.serialize_field("counted", &self.row.counted)?;
        row.end()
    }
}

/// Every R of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
    pub(super) measured: usize,
    pub(super) dropped: usize,
}

/// All rows with their figures.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) spread: Spread,
    pub(super) rows: Vec<Measured>,
}

impl Table {
    /// The rows, in the order of the design.
    pub fn rows(&self) -> &[Measured] {
        &self.rows
    }

    /// Enters what another build counted: a row of this name and its figure.
    pub fn enter_counted(&mut self, name: &str, value: f64) {
        let is_it = |row: &&mut Measured| row.row.counted && row.row.name == name;
        if let Some(row) = self.rows.iter_mut().find(is_it) {
            let met = row.row.bound.is_met(value, row.row.gate);
            row.judge((Some(value), if met { Verdict::Met } else { Verdict::Missed }));
        }
    }

    /// Whether a row is missed.
    pub fn has_missed(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Verdict::Missed)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_struct("Table", 2)?;
        table.serialize_field("rmw_ns", &self.spread.median)?;
        table.serialize_field("rows", &self.rows)?;
        table.end()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { least, median, most, measured, dropped } = self.spread;
        write!(f, "R = {median:.2} ns (least {least:.2}, most {most:.2}, ")?;
        writeln!(f, "{dropped} of {measured} above 1.15x the least tenth and dropped)")?;
        for row in &self.rows {
            write!(f, "{row}")?;
        }
        for verdict in [Verdict::Met, Verdict::Missed, Verdict::Inconclusive, Verdict::NotYet] {
            write!(f, "{} {}  ", self.count(verdict), verdict.name())?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = &self.row;
        let value = self.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let sign = if row.bound == Bound::AtMost { "<=" } else { ">=" };
        write!(f, "{:12} {:66} {value:>10} ", self.verdict.name(), row.name)?;
        writeln!(f, "{sign} {:<6.4} {}", row.gate, row.unit.name())?;
        if !row.setup.is_empty() {
            writeln!(f, "{:14}{}", "", row.setup)?;
        }
        if let Some(refusal) = &self.refusal {
            writeln!(f, "{:14}{refusal}", "")?;
        }
        if self.columns.is_empty() {
            return Ok(());
        }
        write!(f, "{:14}beside:", "")?;
        for column in &self.columns {
            write!(f, " {} {:.2},", column.name, column.value)?;
        }
        writeln!(f, "{}", self.standing())
    }
}

impl Measured {
    /// Whether ours is ahead of everything beside it.
    fn standing(&self) -> &'static str {
        let Some(value) = self.value else {
            return "";
        };
        let is_real = |column: &&Column| ![HARNESS, MACHINE].contains(&column.name);
        let mut peers = self.columns.iter().filter(is_real).peekable();
        if peers.peek().is_none() {
            return "";
        }
        let behind = |column: &Column| self.row.bound.is_met(column.value, value);
        if peers.any(behind) { " ours is BEHIND" } else { " ours is ahead" }
    }
}
