//! `cargo bench --bench raw`: the yardstick on its own.

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the raw-socket yardstick is for Linux: segmentation and its like are Linux's own");
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    nakcast_raw::command(std::env::args().skip(1))
}
