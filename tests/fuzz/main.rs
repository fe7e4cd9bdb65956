//! What the fuzz targets found, and random input of every day: the cases that `scripts/fuzz` runs under libFuzzer, run here
//! without it. A finding is kept in `regressions`, in the folder of its target.

#[allow(dead_code, reason = "what a target runs")]
mod cases;
mod findings;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions").join(target)
}

#[test]
fn what_was_found_once_is_found_no_more() {
    for (target, case) in cases::ALL {
        // A target that found nothing has no folder.
        for entry in fs::read_dir(folder(target)).into_iter().flatten() {
            let path = entry.expect("a file").path();
            let bytes = fs::read(&path).expect("a file");
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&bytes))) {
                eprintln!("{} fails", path.display());
                resume_unwind(panic);
            }
        }
    }
}

/// `NAKCAST_FUZZ=100000 cargo test --release --test fuzz` runs as many.
#[test]
fn any_input_finds_nothing() {
    let count = std::env::var("NAKCAST_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    for (target, case) in cases::ALL {
        for seed in 0..count {
            let mut random = fastrand::Rng::with_seed(seed);
            let bytes: Vec<u8> = (0..random.usize(..4_000)).map(|_| random.u8(..)).collect();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&bytes))) {
                let path = std::env::temp_dir().join(format!("nakcast-{target}-{seed}"));
                fs::write(&path, &bytes).expect("a file can be written");
                eprintln!("{target} fails with {}", path.display());
                resume_unwind(panic);
            }
        }
    }
}

/// `NAKCAST_CASE=target:file cargo test --test fuzz one_case -- --nocapture` repeats one.
#[test]
fn one_case() {
    let Ok(named) = std::env::var("NAKCAST_CASE") else { return };
    let (target, path) = named.split_once(':').expect("NAKCAST_CASE is target:file");
    let (_, case) = cases::ALL.into_iter().find(|(name, _)| *name == target).expect("a target");
    case(&fs::read(path).expect("a file"));
}
