//! `cargo bench -p nakcast-micro`: what a step takes, by the clock.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for work in nakcast_micro::ALL {
        let mut repeat = (work.prepare)();
        let mut group = criterion.benchmark_group(work.name);
        group.throughput(Throughput::Elements(repeat()));
        group.bench_function(work.step, |bencher| bencher.iter(&mut repeat));
        group.finish();
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
