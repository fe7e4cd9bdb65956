//! The house's own rules: which way the arrows point, where unsafe code may be, and how large a room may grow.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file, without its comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_arrows_point_one_way() {
    // What a room may take from the crate's others: wire <- protocol <- driver -> net, and sim sits on protocol.
    for (room, allowed) in [
        ("wire", &["wire"][..]),
        ("net", &["net"]),
        ("protocol", &["protocol", "wire"]),
        ("driver", &["driver", "protocol", "net", "wire"]),
        ("sim", &["sim", "protocol", "wire"]),
    ] {
        for path in sources(&root().join("src").join(room)) {
            for part in code(&path).split("crate::").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(allowed.contains(&name.as_str()), "{} takes crate::{name}", path.display());
            }
        }
    }
}

#[test]
fn the_protocol_knows_neither_clock_nor_socket_nor_thread() {
    for room in ["wire", "protocol"] {
        for path in sources(&root().join("src").join(room)) {
            let code = code(&path);
            for word in
                ["Instant", "SystemTime", "UdpSocket", "std::thread", "std::fs", "tracing", "mio::", "libc::"]
            {
                assert!(!code.contains(word), "{} has {word}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_is_in_net_alone() {
    for path in sources(&root().join("src")) {
        if !path.starts_with(root().join("src/net")) {
            assert!(!code(&path).contains("unsafe"), "{}", path.display());
        }
    }
}

#[test]
fn a_room_that_grows_is_given_a_second_one() {
    for folder in ["src", "bin", "tests", "benches"] {
        for path in sources(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 650, "{} has {lines} lines", path.display());
        }
    }
}
