//! The shipped trace under criterion, timed passes only; `replay` verifies.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use potad_benches::replay::{Plan, timed};
use potad_benches::subject::{Reference, Subject, Visitor, visit_others, visit_ours};
use potad_benches::trace::Trace;
use std::time::Duration;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/page-compileall-mthp.pot.zst");

struct Bench<'a> {
    criterion: &'a mut Criterion,
    plan: &'a Plan,
    name: String,
}

impl Visitor for Bench<'_> {
    fn visit<S: Subject>(&mut self) {
        // A pass of a linear search takes seconds.
        if S::LINEAR || timed::<S>(self.plan).is_none() {
            return;
        }
        let mut group = self.criterion.benchmark_group(&self.name);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.throughput(Throughput::Elements(self.plan.ops()));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        group.bench_function(S::NAME, |bencher| {
            bencher.iter_custom(|passes| (0..passes).filter_map(|_| timed::<S>(self.plan)).sum());
        });
        group.finish();
    }
}

fn traces(criterion: &mut Criterion) {
    let trace = match Trace::open(SHIPPED) {
        Ok(trace) => trace,
        Err(error) => return eprintln!("{error}"),
    };
    for threads in [1, 2] {
        let plan = Plan::new(&trace, threads);
        let name = format!("compileall on {threads} threads");
        let mut bench = Bench { criterion, plan: &plan, name };
        visit_ours(&mut bench);
        bench.visit::<Reference>();
        visit_others(&mut bench);
    }
}

criterion_group!(benches, traces);
criterion_main!(benches);
