//! Verdicts, rows and groups, without a machine that holds still.

use super::{Bound, Counted, Counter, Counts, Group, Sample, Source, Verdict, judge, rows};
use crate::subject::{Reference, SubjectError};

fn samples(values: &[f64]) -> Vec<Sample> {
    values.iter().map(|value| Sample { value: *value, rmw_ns: 5.0 }).collect()
}

#[test]
fn a_median_within_the_gate_is_met_and_a_best_quartile_beyond_it_missed() {
    let verdict = |values: &[f64], gate| judge(&samples(values), 5.0, gate, Bound::AtMost).1;
    let spread = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    assert_eq!(verdict(&spread, 5.0), Verdict::Met);
    assert_eq!(verdict(&spread, 4.0), Verdict::Inconclusive);
    assert_eq!(verdict(&spread, 3.0), Verdict::Inconclusive);
    assert_eq!(verdict(&spread, 2.9), Verdict::Missed);
    assert_eq!(verdict(&[], 1.0), Verdict::NotYet);
    let high = |gate| judge(&samples(&spread), 5.0, gate, Bound::AtLeast).1;
    assert_eq!(
        (high(5.0), high(7.0), high(7.1)),
        (Verdict::Met, Verdict::Inconclusive, Verdict::Missed)
    );
}

#[test]
fn disturbed_rounds_are_dropped() {
    let mut all = samples(&[1.0, 1.0, 1.0]);
    all.extend([100.0, 100.0].map(|value| Sample { value, rmw_ns: 6.0 }));
    assert_eq!(judge(&all, 5.0, 1.0, Bound::AtMost), (Some(1.0), Verdict::Met));
    all.extend([100.0; 8].map(|value| Sample { value, rmw_ns: 6.0 }));
    assert_eq!(judge(&all, 5.0, 1.0, Bound::AtMost).1, Verdict::Inconclusive);
}

#[test]
fn rows_have_names_of_their_own() {
    let rows = rows();
    for (index, row) in rows.iter().enumerate() {
        assert!(rows[..index].iter().all(|other| other.name != row.name), "{}", row.name);
        // What is counted comes from the shim, what is timed does not.
        let is_counted = matches!(row.source, Source::Counted(_));
        assert!(!is_counted || row.counted, "{}", row.name);
    }
}

#[test]
fn every_row_of_descriptors_has_a_figure() {
    let rows = rows();
    let typed = rows
        .iter()
        .filter(|row| row.name.starts_with("typed pair") || row.name.starts_with("peek through"));
    let measured = typed.map(|row| match row.source {
        Source::Own(measure) => measure(),
        _ => None,
    });
    let measured: Vec<_> = measured.collect();
    assert_eq!(measured.len(), 6);
    assert!(measured.iter().flatten().filter(|ns| ns.is_finite() && **ns > 0.0).count() == 6);
}

#[test]
fn groups_run_on_the_reference() {
    for (group, figures) in [(Group::Pair(0), 1), (Group::Batch, 1), (Group::Register(28), 1)] {
        let values = group.run::<Reference>().expect("any shape");
        assert_eq!(values.len(), figures);
        assert!(values.iter().all(|value| value.is_finite()));
    }
}

/// Counts nothing, and says a number of its own each time.
struct Fixed(u64);

impl Counter for Fixed {
    fn begin(&mut self) {
        self.0 += 1;
    }

    fn end(&mut self) -> Counts {
        Counts { rmws: 2, heavy_barriers: self.0, lines_written: 1 }
    }
}

#[test]
fn counted_figures_bracket_one_operation() -> Result<(), SubjectError> {
    let mut counter = Fixed(0);
    assert_eq!(Counted::HotPairRmws.run::<Reference>(&mut counter)?, 2.0);
    assert_eq!(Counted::HotPairHeavy.run::<Reference>(&mut counter)?, 2.0);
    assert_eq!(Counted::HighTwosLines.run::<Reference>(&mut counter)?, 1.0);
    assert_eq!(Counted::RefillRmws.run::<Reference>(&mut counter)?, 2.0);
    Ok(())
}
