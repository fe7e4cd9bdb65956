//! Single steps of the protocol, without sockets or clock: the same work each time, to the byte.
//!
//! `cargo bench -p nakcast-micro` times them; `scripts/instructions` counts their instructions, which no other load on the
//! machine changes.

mod gaps;
mod publish;
mod wire;

use std::net::SocketAddr;

/// A piece of work that can be repeated; it tells how many steps it did.
pub type Repeat = Box<dyn FnMut() -> u64>;

/// A piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its name.
    pub name: &'static str,
    /// What a step of it is.
    pub step: &'static str,
    /// Makes what it needs.
    pub prepare: fn() -> Repeat,
}

/// All of it.
pub const ALL: [Work; 7] = [
    Work { name: "encode", step: "datagram of 1,408 bytes written", prepare: wire::encode },
    Work { name: "decode", step: "datagram of 37 messages checked and read", prepare: wire::decode },
    Work {
        name: "window-insert",
        step: "message of 256 bytes taken, and transmitted in runs",
        prepare: publish::insert,
    },
    Work {
        name: "repair-look-up",
        step: "datagram found in a window of 10,000 and sent again",
        prepare: publish::repair,
    },
    Work { name: "gaps-0", step: "datagram received, no loss", prepare: || gaps::track(0.0) },
    Work { name: "gaps-1", step: "datagram received, 1% loss", prepare: || gaps::track(0.01) },
    Work { name: "gaps-10", step: "datagram received, 10% loss", prepare: || gaps::track(0.1) },
];

/// Where the publisher is, and where the subscriber.
fn addresses() -> (SocketAddr, SocketAddr) {
    (([192, 0, 2, 1], 7_700).into(), ([192, 0, 2, 2], 7_701).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_does_something_and_the_same_again() {
        for Work { name, prepare, .. } in ALL {
            let (mut one, mut other) = (prepare(), prepare());
            let steps = one();
            assert!(steps > 0, "{name}");
            assert_eq!((one(), other()), (steps, steps), "{name}");
        }
    }
}
