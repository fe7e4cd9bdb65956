//! The `nakcast` command.

fn main() {}
