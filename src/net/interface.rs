//! Network interfaces, and the choice of one.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::listing;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn has(self, address: &IpAddr) -> bool {
        Family::from(*address) == self
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// A network interface as it was when it was listed.
///
/// Shown as its name and addresses: `eth0 (192.0.2.2, fe80::1)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What the operating system calls it, such as `eth0`.
    pub name: String,
    /// The operating system's number for it, from 1; 0 where that is unknown.
    pub index: u32,
    /// Its addresses of both families, in the operating system's order.
    pub addresses: Vec<IpAddr>,
    /// Whether an administrator has it up.
    pub up: bool,
    /// Whether it is ready to carry traffic, such as when its cable is plugged in.
    pub running: bool,
    /// Whether it says that it can do multicast. Linux's `lo` does not say so, and can.
    pub multicast: bool,
    /// Whether it leads back to this machine alone.
    pub loopback: bool,
    /// The longest IP packet it carries, headers included, in bytes; `None` where the platform was not asked.
    pub mtu: Option<u32>,
}

impl Interface {
    fn address_for(&self, group: IpAddr) -> Option<IpAddr> {
        let family = Family::from(group);
        let mut addresses = self.addresses.iter().copied().filter(|address| family.has(address));
        let IpAddr::V6(group) = group else { return addresses.next() };
        let near = is_near(group);
        let fits = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local() == near);
        addresses.clone().find(fits).or_else(|| addresses.next())
    }

    fn serves(&self, family: Family) -> bool {
        self.up && self.addresses.iter().any(|address| family.has(address))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (place, address) in self.addresses.iter().enumerate() {
            f.write_str(if place == 0 { " (" } else { ", " })?;
            write!(f, "{address}")?;
        }
        f.write_str(if self.addresses.is_empty() { "" } else { ")" })
    }
}

/// Whether an IPv6 group's scope ends at the interface (`ff01`, `ff11`) or the link (`ff02`, `ff12`).
pub(super) fn is_near(group: Ipv6Addr) -> bool {
    group.is_multicast() && matches!(group.octets()[1] & 0x0f, 1 | 2)
}

/// What a socket is bound to: one interface, and its address of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The interface.
    pub interface: Interface,
    /// One of its addresses. For an IPv6 link-local address, the interface's index is the scope.
    pub address: IpAddr,
}

impl Local {
    /// The address with a port, and with the scope that an IPv6 link-local address needs.
    #[must_use]
    pub fn socket_addr(&self, port: u16) -> SocketAddr {
        match self.address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddrV6::new(v6, port, 0, self.interface.index).into()
            }
            address => SocketAddr::new(address, port),
        }
    }

    /// The longest datagram that the interface carries unfragmented, in bytes: its MTU less an IPv4 header of 20 bytes or
    /// an IPv6 header of 40, and UDP's of 8; at most [`MAX_DATAGRAM`](super::MAX_DATAGRAM). `None` where the platform was
    /// not asked for the MTU.
    #[must_use]
    pub fn longest_datagram(&self) -> Option<usize> {
        self.interface.mtu.map(|mtu| longest_datagram(mtu, self.address))
    }
}

/// What an MTU leaves for the payload of a datagram from this address.
pub(super) fn longest_datagram(mtu: u32, from: IpAddr) -> usize {
    let headers = if from.is_ipv4() { 28 } else { 48 };
    (mtu as usize).saturating_sub(headers).min(super::MAX_DATAGRAM)
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.interface.name)
    }
}

/// Why no interface was chosen. The variants carry the usable interfaces, and the one-line text lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterfaceError {
    /// No interface has the name or address that was asked for.
    Unknown {
        /// What was asked for.
        asked: String,
        /// The interfaces that would do.
        known: Vec<Interface>,
    },
    /// The interface that was asked for has no address of the group's family.
    NoAddress {
        /// What was asked for.
        asked: String,
        /// The group's family.
        family: Family,
        /// The interfaces that would do.
        known: Vec<Interface>,
    },
    /// The interface that was asked for is down.
    Down {
        /// What was asked for.
        asked: String,
        /// The interfaces that would do.
        known: Vec<Interface>,
    },
    /// Nothing, or not enough, was asked for, and more than one interface would do.
    Ambiguous {
        /// The interfaces that would do.
        choices: Vec<Interface>,
    },
    /// Nothing was asked for, and no interface is up, running, capable of multicast, not loopback, and has an address
    /// of the group's family.
    None {
        /// The group's family.
        family: Family,
        /// The interfaces that would do if they were asked for by name.
        known: Vec<Interface>,
    },
    /// The operating system did not tell its interfaces: the kind and its words.
    Os(io::ErrorKind, String),
}

impl Error for InterfaceError {}

impl fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InterfaceError::Unknown { asked, known } => {
                write!(f, "no interface is called {asked:?} or has that address; {}", Choices(known))
            }
            InterfaceError::NoAddress { asked, family, known } => {
                write!(
                    f,
                    "interface {asked:?} has no {family} address, which the group needs; {}",
                    Choices(known)
                )
            }
            InterfaceError::Down { asked, known } => {
                write!(f, "interface {asked:?} is down; {}", Choices(known))
            }
            InterfaceError::Ambiguous { choices } => {
                write!(
                    f,
                    "more than one interface would do, and which one was not said; {}",
                    Choices(choices)
                )
            }
            InterfaceError::None { family, known } => write!(
                f,
                "no interface is running, capable of multicast, and has an {family} address, loopback aside; {}",
                Choices(known)
            ),
            InterfaceError::Os(_, text) => write!(f, "the interfaces could not be listed: {text}"),
        }
    }
}

struct Choices<'a>(&'a [Interface]);

impl fmt::Display for Choices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is none that would do");
        }
        f.write_str("choose from: ")?;
        for (place, interface) in self.0.iter().enumerate() {
            write!(f, "{}{interface}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Lists the machine's interfaces in the order of their index.
///
/// # Errors
///
/// Whatever the operating system says; [`io::ErrorKind::Unsupported`] where it cannot be asked.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut list = listing::interfaces()?;
    list.sort_by_key(|interface| interface.index);
    Ok(list)
}

/// Picks the interface, and its address, on which to use `group`.
///
/// `choice` is an interface's name (`eth0`) or one of its addresses (`192.0.2.2`, `::1`, `fe80::1%eth0`). The loopback
/// interface serves when it is asked for. With `None` it is the only interface that is up, running, capable of
/// multicast, not loopback, and has an address of the group's family. By name, an IPv6 group of link-local scope gets
/// the interface's link-local address, and a wider one gets another, if there is such an address.
///
/// # Errors
///
/// [`InterfaceError`] says what was wrong with the choice and lists what would be right.
pub fn resolve(choice: Option<&str>, group: IpAddr) -> Result<Local, InterfaceError> {
    let list = interfaces().map_err(|error| InterfaceError::Os(error.kind(), error.to_string()))?;
    choose(list, choice, group)
}

fn choose(list: Vec<Interface>, choice: Option<&str>, group: IpAddr) -> Result<Local, InterfaceError> {
    let family = Family::from(group);
    let known = || list.iter().filter(|interface| interface.serves(family)).cloned().collect::<Vec<_>>();

    let Some(asked) = choice else {
        let mut choices = known();
        choices.retain(|interface| interface.running && interface.multicast && !interface.loopback);
        if choices.len() > 1 {
            return Err(InterfaceError::Ambiguous { choices });
        }
        let found = choices.pop().and_then(|interface| Some((interface.address_for(group)?, interface)));
        return match found {
            Some((address, interface)) => Ok(Local { interface, address }),
            None => Err(InterfaceError::None { family, known: known() }),
        };
    };

    let mut address = None;
    let mut named = list.iter().filter(|interface| interface.name == asked).collect::<Vec<_>>();
    if named.is_empty()
        && let Some((wanted, zone)) = parse_address(asked)
    {
        address = Some(wanted);
        let in_zone = |interface: &Interface| {
            zone.is_none_or(|zone| interface.name == zone || interface.index.to_string() == zone)
        };
        named.extend(list.iter().filter(|each| each.addresses.contains(&wanted) && in_zone(each)));
    }
    let interface = match named[..] {
        [] => return Err(InterfaceError::Unknown { asked: asked.to_owned(), known: known() }),
        [interface] => interface,
        _ => return Err(InterfaceError::Ambiguous { choices: named.into_iter().cloned().collect() }),
    };
    if !interface.up {
        return Err(InterfaceError::Down { asked: asked.to_owned(), known: known() });
    }
    match address.or_else(|| interface.address_for(group)) {
        Some(address) if family.has(&address) => Ok(Local { interface: interface.clone(), address }),
        _ => Err(InterfaceError::NoAddress { asked: asked.to_owned(), family, known: known() }),
    }
}

fn parse_address(asked: &str) -> Option<(IpAddr, Option<&str>)> {
    let (address, zone) = match asked.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (asked, None),
    };
    Some((address.parse().ok()?, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "239.255.77.1";
    const V6: &str = "ff15::4d";
    const V6_LINK: &str = "ff12::4d";

    fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
        Interface {
            name: name.to_owned(),
            index,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            up: true,
            running: true,
            multicast: name != "lo",
            loopback: name == "lo",
            mtu: Some(1500),
        }
    }

    fn machine() -> Vec<Interface> {
        vec![
            interface(1, "lo", &["127.0.0.1", "::1"]),
            interface(2, "eth0", &["192.0.2.2", "fe80::1", "2001:db8::2"]),
            Interface { running: false, ..interface(3, "docker0", &["172.17.0.1"]) },
            Interface { up: false, running: false, ..interface(4, "eth1", &["198.51.100.2"]) },
            interface(5, "six0", &["fe80::1"]),
        ]
    }

    fn pick(
        list: Vec<Interface>,
        choice: Option<&str>,
        group: &str,
    ) -> Result<(String, String), InterfaceError> {
        choose(list, choice, group.parse().unwrap())
            .map(|local| (local.interface.name, local.address.to_string()))
    }

    fn found(name: &str, address: &str) -> Result<(String, String), InterfaceError> {
        Ok((name.to_owned(), address.to_owned()))
    }

    #[test]
    fn the_only_interface_that_would_do_needs_no_name() {
        assert_eq!(pick(machine(), None, V4), found("eth0", "192.0.2.2"));
    }

    #[test]
    fn more_than_one_asks_for_a_choice() {
        let error = pick(machine(), None, V6).unwrap_err();
        assert_eq!(
            error.to_string(),
            "more than one interface would do, and which one was not said; choose from: \
             eth0 (192.0.2.2, fe80::1, 2001:db8::2), six0 (fe80::1)"
        );
    }

    #[test]
    fn loopback_alone_is_offered_by_name() {
        let error = pick(machine().drain(..1).collect(), None, V4).unwrap_err();
        assert!(matches!(&error, InterfaceError::None { family: Family::V4, known } if known.len() == 1));
        assert!(error.to_string().ends_with("; choose from: lo (127.0.0.1, ::1)"), "{error}");
        assert_eq!(pick(machine(), Some("lo"), V4), found("lo", "127.0.0.1"));
        assert_eq!(pick(machine(), Some("::1"), V6), found("lo", "::1"));
    }

    #[test]
    fn a_named_interface_need_not_be_running() {
        assert_eq!(pick(machine(), Some("docker0"), V4), found("docker0", "172.17.0.1"));
    }

    #[test]
    fn link_local_groups_use_link_local_addresses() {
        assert_eq!(pick(machine(), Some("eth0"), V6), found("eth0", "2001:db8::2"));
        assert_eq!(pick(machine(), Some("eth0"), V6_LINK), found("eth0", "fe80::1"));
        assert_eq!(pick(machine(), Some("six0"), V6), found("six0", "fe80::1"), "whatever there is");
        assert_eq!(pick(machine(), Some("lo"), V6_LINK), found("lo", "::1"), "whatever there is");
    }

    #[test]
    fn an_address_on_two_interfaces_needs_its_zone() {
        let error = pick(machine(), Some("fe80::1"), V6).unwrap_err();
        assert!(matches!(error, InterfaceError::Ambiguous { choices } if choices.len() == 2));
        assert_eq!(pick(machine(), Some("fe80::1%six0"), V6), found("six0", "fe80::1"));
        assert_eq!(pick(machine(), Some("fe80::1%2"), V6), found("eth0", "fe80::1"));
    }

    #[test]
    fn what_is_wrong_and_what_would_be_right() {
        let text = |choice, group| pick(machine(), Some(choice), group).unwrap_err().to_string();
        let v4 =
            "choose from: lo (127.0.0.1, ::1), eth0 (192.0.2.2, fe80::1, 2001:db8::2), docker0 (172.17.0.1)";
        assert_eq!(text("eht0", V4), format!("no interface is called \"eht0\" or has that address; {v4}"));
        assert_eq!(text("eth1", V4), format!("interface \"eth1\" is down; {v4}"));
        assert_eq!(
            text("six0", V4),
            format!("interface \"six0\" has no IPv4 address, which the group needs; {v4}")
        );
        assert!(matches!(
            pick(machine(), Some("192.0.2.2"), V6).unwrap_err(),
            InterfaceError::NoAddress { family: Family::V6, .. }
        ));
        assert!(matches!(pick(vec![], Some("10.0.0.1"), V4).unwrap_err(), InterfaceError::Unknown { .. }));
        assert!(pick(vec![], None, V4).unwrap_err().to_string().ends_with("there is none that would do"));
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let local = resolve(Some("127.0.0.1"), V4.parse().unwrap()).unwrap();
        assert!(local.interface.loopback && local.interface.up && local.interface.running);
        assert_ne!(local.interface.index, 0);
        assert_eq!(local, resolve(Some(&local.interface.name), V4.parse().unwrap()).unwrap());
        #[cfg(target_os = "linux")]
        assert!(local.interface.mtu.is_some());

        let error = resolve(Some("no such interface"), V4.parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }

    #[test]
    fn the_longest_datagram_is_what_the_headers_leave() {
        let longest = |mtu, address: &str| longest_datagram(mtu, address.parse().unwrap());
        assert_eq!((longest(1_500, "192.0.2.2"), longest(1_500, "fe80::1")), (1_472, 1_452));
        assert_eq!((longest(65_536, "127.0.0.1"), longest(65_536, "::1")), (65_507, 65_488));
        assert_eq!(longest(20, "192.0.2.2"), 0);
        let local = choose(machine(), Some("eth0"), V4.parse().unwrap()).unwrap();
        assert_eq!(local.longest_datagram(), Some(1_472));
        let unknown = Interface { mtu: None, ..local.interface };
        assert_eq!(Local { interface: unknown, ..local }.longest_datagram(), None);
    }

    #[test]
    fn a_link_local_address_keeps_its_scope() {
        let local = choose(machine(), Some("six0"), V6.parse().unwrap()).unwrap();
        assert_eq!(local.socket_addr(7700).to_string(), "[fe80::1%5]:7700");
        assert_eq!(local.to_string(), "fe80::1 on six0");
    }
}
