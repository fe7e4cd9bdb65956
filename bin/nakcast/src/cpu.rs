//! Which processor the thread that works runs on.

use crate::exit::Failure;

/// Whether this process may run on those processors; `option` is the one they were said with.
#[cfg(target_os = "linux")]
pub(crate) fn check(option: &str, asked: &[usize]) -> Result<(), Failure> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let set = sched_getaffinity(None).map_err(|error| {
        Failure::at_run_time(format_args!("{option}: asking for the processors: {error}"))
    })?;
    let there: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    match asked.iter().find(|cpu| !there.contains(cpu)) {
        None => Ok(()),
        Some(cpu) => Err(Failure::usage(format_args!(
            "{option}: there is no processor {cpu} that this process may run on; it has {}",
            there.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
        ))),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn check(option: &str, asked: &[usize]) -> Result<(), Failure> {
    match asked {
        [] => Ok(()),
        _ => Err(Failure::usage(format_args!("{option}: threads are bound to processors on Linux alone"))),
    }
}

/// Keeps the thread that calls on a processor. Threads it starts afterwards stay there too; those it had started do not.
pub(crate) fn pin(cpu: Option<usize>) -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    if let Some(cpu) = cpu {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)
            .map_err(|error| Failure::at_run_time(format_args!("--cpu {cpu}: {error}")))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = cpu;
    Ok(())
}
