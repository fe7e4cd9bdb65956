//! The plan of `bench`.

use super::{MAX_MESSAGE, any_group, any_number};
use crate::args::{BenchArgs, Role, SideArgs};
use crate::cpu;
use crate::exit::Failure;
use crate::file::ResultFile;
use crate::pace::Load;
use nakcast::Error;
use nakcast::net::MAX_DATAGRAM;
use nakcast::protocol::publisher::MIN_DATAGRAM;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

/// How long each is measured when neither time nor count was said.
const DURATION: Duration = Duration::from_secs(3);
/// What the README shows: these sizes as fast as they go, and one of them at these rates.
const MATRIX_SIZES: [usize; 3] = [32, 256, 1_024];
const MATRIX_RATED_SIZE: usize = 256;
const MATRIX_RATES: [f64; 2] = [10_000.0, 100_000.0];
const MATRIX_RUNS: usize = 5;
/// The stamp that tells when a message was due.
const STAMP: usize = 8;
/// Where ip-netns(8) keeps the names of namespaces.
const NAMESPACES: &str = "/var/run/netns";

/// One thing to be measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) size: usize,
    pub(crate) load: Load,
}

/// What `bench` is to do.
#[derive(Debug)]
pub(crate) struct BenchPlan {
    pub(crate) cases: Vec<Case>,
    pub(crate) runs: usize,
    pub(crate) raw: bool,
    /// The processors of the processes; none for any.
    pub(crate) cpus: Vec<usize>,
    /// Where the receiving processes are.
    pub(crate) subscriber_netns: Option<String>,
    /// What the processes of every case are told alike; each is told its own role, group, size and rate.
    pub(crate) side: SideArgs,
    pub(crate) json: Json,
    /// That the table is to be the README's, and where plots are drawn.
    pub(crate) matrix: Option<Pictures>,
}

/// What `--matrix` draws.
#[derive(Debug)]
pub(crate) struct Pictures {
    pub(crate) throughput: ResultFile,
    pub(crate) latency: ResultFile,
}

impl Pictures {
    fn open(directory: &Path) -> Result<Pictures, Failure> {
        std::fs::create_dir_all(directory).map_err(|error| {
            let wanted = "it takes a directory for its pictures";
            Failure::at_run_time(format_args!("--matrix {}: {error}; {wanted}", directory.display()))
        })?;
        let open = |name| ResultFile::open("--matrix", directory.join(name));
        Ok(Pictures { throughput: open("throughput.svg")?, latency: open("latency.svg")? })
    }
}

/// Whether and where figures are written as JSON.
#[derive(Debug)]
pub(crate) enum Json {
    None,
    File(ResultFile),
    Output,
}

pub(crate) fn bench(args: BenchArgs) -> Result<BenchPlan, Failure> {
    let cases: Vec<Case> = if args.matrix.is_some() {
        let sizes = MATRIX_SIZES.map(|size| Case { size, load: Load::Max });
        let rates = MATRIX_RATES.map(|rate| Case { size: MATRIX_RATED_SIZE, load: Load::Rate(rate) });
        sizes.into_iter().chain(rates).collect()
    } else {
        let loads =
            |size: &usize| args.rate.iter().map(|&load| Case { size: *size, load }).collect::<Vec<_>>();
        args.size.iter().flat_map(loads).collect()
    };
    for &Case { size, .. } in &cases {
        if size < STAMP {
            return Err(Failure::usage(format_args!(
                "--size {size}: too few bytes: a message says when it was due, and that takes {STAMP}"
            )));
        }
        if size > MAX_MESSAGE {
            return Err(Failure::usage(format_args!(
                "--size: a message of {size} bytes is above the limit of {MAX_MESSAGE} (16 MiB)"
            )));
        }
    }
    if let Some(bytes) = args.datagram
        && !(MIN_DATAGRAM..=MAX_DATAGRAM).contains(&bytes)
    {
        return Err(Failure::usage(format_args!(
            "--datagram: {bytes} is outside {MIN_DATAGRAM} to {MAX_DATAGRAM} bytes"
        )));
    }
    if !args.work.is_zero()
        && let Some(rate) = cases.iter().find_map(|case| case.load.rate())
    {
        return Err(Failure::usage(format_args!(
            "--work: at --rate {rate} messages are sent when they are due; a loop that works goes with --rate max"
        )));
    }
    cpu::check("--cpu", &args.cpu)?;
    if let Some(name) = &args.subscriber_netns
        && !Path::new(NAMESPACES).join(name).exists()
    {
        return Err(Failure::usage(format_args!(
            "--subscriber-netns: there is no network namespace {name:?}; ip netns list names them"
        )));
    }
    let group = args.group.unwrap_or_else(|| any_group(any_number()));
    // By its name: raw sockets want it so.
    let local = nakcast::net::resolve(Some(&args.interface), (*group.ip()).into()).map_err(Error::from)?;
    let matrix = args.matrix.as_deref().map(Pictures::open).transpose()?;
    let json = match args.json {
        None => Json::None,
        Some(path) if path.as_os_str() == "-" => Json::Output,
        Some(path) => {
            let file = ResultFile::open("--json", path)?;
            for picture in matrix.iter().flat_map(|Pictures { throughput, latency }| [throughput, latency]) {
                file.is_not(picture.metadata(), "a picture of --matrix")?;
            }
            Json::File(file)
        }
    };
    let duration = args.duration.or(if args.count.is_none() { Some(DURATION) } else { None });
    let default_runs = if matrix.is_some() { MATRIX_RUNS } else { 1 };
    Ok(BenchPlan {
        cases,
        runs: args.runs.unwrap_or(default_runs),
        raw: !args.no_raw,
        cpus: args.cpu,
        subscriber_netns: args.subscriber_netns,
        side: SideArgs {
            role: Role::Publish,
            group,
            interface: local.interface.name,
            size: 0,
            rate: Load::Max,
            work: args.work,
            topics: args.topics,
            subscribers: args.subscribers,
            count: args.count,
            duration,
            warm_up: args.warm_up,
            contract: args.contract,
            flow: args.flow,
            datagram: args.datagram,
            drop: args.drop,
            seed: args.drop.map(|_| args.seed.unwrap_or_else(any_number)),
            spin: args.spin,
            kernel_times: args.kernel_times,
            cpu: None,
            verbose: args.verbose,
        },
        json,
        matrix,
    })
}

/// The group of the raw sockets: it has the port after it, and with that the next.
pub(crate) fn raw_group(group: SocketAddrV4) -> SocketAddrV4 {
    SocketAddrV4::new(*group.ip(), group.port() + 1)
}
