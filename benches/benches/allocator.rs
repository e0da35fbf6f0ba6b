//! The synthetic workloads under criterion, one group each, potad and whatever
//! else was compiled in beside it.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use memdesc::Order;
use potad_benches::subject::{Reference, Shape, Subject, Visitor, visit_others, visit_ours};
use potad_benches::workload::{Bulk, Call, Churn, Replaced, batches, bulk, pairs};
use std::time::Duration;

/// Largest number of operations that one sample is asked for, so that slow
/// subjects finish; criterion scales what it gets.
const MOST: u64 = 1 << 20;

#[derive(Clone, Copy)]
enum Workload {
    Pair(u32),
    Batch,
    BulkAlloc,
    BulkFreeInOrder,
    BulkFreeShuffled,
    Churn,
    Replace(u32),
}

/// One workload over all subjects.
struct Bench<'a, 'c> {
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    workload: Workload,
}

impl Visitor for Bench<'_, '_> {
    fn visit<S: Subject>(&mut self) {
        let granules = if S::LINEAR { 1 << 14 } else { 1 << 21 };
        let shape = Shape { granules, granule_bytes: 4096, hands: 1 };
        let Ok(subject) = S::new(shape) else {
            return;
        };
        let workload = self.workload;
        let mut hand = subject.hand();
        // These two have a state that lives across samples.
        let mut churn = match workload {
            Workload::Churn => Some(Churn::new(&mut hand, granules / 4 * 3, 7)),
            _ => None,
        };
        let mut replaced = match workload {
            Workload::Replace(order) => {
                let order = Order::new(order).unwrap_or(Order::ZERO);
                let live = if S::LINEAR { 512 } else { 4096 };
                Replaced::new(&mut hand, order, live)
            }
            _ => None,
        };
        self.group.bench_function(S::NAME, |bencher| {
            bencher.iter_custom(|wanted| {
                let ops = wanted.clamp(64, MOST) / 2 * 2;
                let (time, ran) = match workload {
                    Workload::Pair(order) => {
                        let order = Order::new(order).unwrap_or(Order::ZERO);
                        (pairs(&mut hand, order, ops), ops)
                    }
                    Workload::Batch => (batches(&mut hand, Order::ZERO, ops / 32), ops / 32 * 32),
                    Workload::Churn => (churn.as_mut().map(|churn| churn.run(&mut hand, ops)), ops),
                    Workload::Replace(_) => {
                        (replaced.as_mut().and_then(|live| live.run(&mut hand, ops)), ops)
                    }
                    Workload::BulkAlloc => phase(&mut hand, ops, granules, |bulk| bulk.alloc),
                    Workload::BulkFreeInOrder => {
                        phase(&mut hand, ops, granules, |bulk| bulk.free_in_order)
                    }
                    Workload::BulkFreeShuffled => {
                        phase(&mut hand, ops, granules, |bulk| bulk.free_shuffled)
                    }
                };
                time.unwrap_or_default().mul_f64(wanted as f64 / ran as f64)
            });
        });
        if let Some(churn) = churn {
            churn.drain(&mut hand);
        }
        if let Some(replaced) = replaced {
            replaced.drain(&mut hand);
        }
    }
}

/// Runs all of bulk, at most half of the resource, and returns one phase.
fn phase(
    hand: &mut impl potad_benches::subject::Hand,
    ops: u64,
    granules: u64,
    which: impl Fn(Bulk) -> Duration,
) -> (Option<Duration>, u64) {
    let ops = ops.min(granules / 2);
    (bulk(hand, ops, Call::One).map(which), ops)
}

fn allocator(criterion: &mut Criterion) {
    let workloads = [
        ("pair of order 0", Workload::Pair(0)),
        ("pair of order 9", Workload::Pair(9)),
        ("32 out, 32 back", Workload::Batch),
        ("bulk alloc", Workload::BulkAlloc),
        ("bulk free in order", Workload::BulkFreeInOrder),
        ("bulk free shuffled", Workload::BulkFreeShuffled),
        ("churn at 75 %", Workload::Churn),
        ("one of order 0 replaced", Workload::Replace(0)),
        ("one of order 4 replaced", Workload::Replace(4)),
    ];
    for (name, workload) in workloads {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        let mut bench = Bench { group: &mut group, workload };
        visit_ours(&mut bench);
        bench.visit::<Reference>();
        visit_others(&mut bench);
        group.finish();
    }
}

criterion_group!(benches, allocator);
criterion_main!(benches);
