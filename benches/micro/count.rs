//! `micro`: the names of all work, and what a step of each is. `micro NAME TIMES`: does it so often, and tells how many steps that
//! were.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = arguments.as_slice() else {
        for work in nakcast_micro::ALL {
            println!("{}\t{}", work.name, work.step);
        }
        return ExitCode::SUCCESS;
    };
    let work = nakcast_micro::ALL.into_iter().find(|work| work.name == name);
    let (Some(work), Ok(times)) = (work, times.parse::<u32>()) else {
        eprintln!("micro {name} {times}: a name, as micro alone tells them, and how often");
        return ExitCode::from(2);
    };
    let mut repeat = (work.prepare)();
    println!("{}", (0..times).map(|_| repeat()).sum::<u64>());
    ExitCode::SUCCESS
}
