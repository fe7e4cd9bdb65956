//! What would be sent on to where it was heard, and so for ever.

use super::settings::{At, Listen, Settings};
use crate::output::repeater::{Protocol, Target};
use crate::output::server::scoped;
use nakcast::net::{interfaces, resolve};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Looks whether anything is sent on to a listener of the same settings, as far as they tell: of names only `localhost` is
/// looked up, since what another one stands for may change, and takes time to ask for.
///
/// # Errors
///
/// One line that names the first such target and its listener.
pub fn check(settings: &Settings) -> Result<(), String> {
    for target in &settings.repeat {
        if let Some(listener) = settings.listeners.iter().find(|listener| hears(listener, target)) {
            let (by, its) = (&target.by, &listener.by);
            return Err(format!(
                "{by}: {target} is where the collector listens itself ({its}): what comes would go round for ever; it takes another server"
            ));
        }
    }
    Ok(())
}

fn hears(listener: &Listen, target: &Target) -> bool {
    let is_udp = target.protocol != Protocol::Tcp;
    match &listener.at {
        At::Udp(address) if is_udp => addresses(target).first().is_some_and(|to| reaches(*to, *address)),
        // It tries one after the other.
        At::Tcp(address) if !is_udp => addresses(target).iter().any(|to| reaches(*to, *address)),
        At::Group(group, interface) if is_udp && addresses(target).first() == Some(group) => {
            // One that is not there is an error of its own.
            let index =
                |choice: &Option<String>| resolve(choice.as_deref(), group.ip()).map(|it| it.interface);
            matches!((index(interface), index(&target.interface)), (Ok(one), Ok(other)) if one.index == other.index)
        }
        _ => false,
    }
}

/// Where a target is, if that needs nobody else to be asked.
fn addresses(target: &Target) -> Vec<SocketAddr> {
    let is_near =
        target.server.rsplit_once(':').is_some_and(|(host, _)| host.eq_ignore_ascii_case("localhost"));
    if is_near || target.server.parse::<SocketAddr>().is_ok() || scoped(&target.server).is_some() {
        target.addresses().unwrap_or_default()
    } else {
        Vec::new()
    }
}

/// Whether what is sent to the one comes to who listens at the other.
fn reaches(to: SocketAddr, address: SocketAddr) -> bool {
    let to_ip = match to.ip().to_canonical() {
        // Sent to nowhere, it stays here.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let at = address.ip().to_canonical();
    // All of IPv6 is all of IPv4, too.
    let is_any = at.is_unspecified() && (at.is_ipv6() || to_ip.is_ipv4());
    to.port() == address.port() && (at == to_ip || is_any && is_here(to_ip))
}

/// Whether an address is this machine's.
fn is_here(ip: IpAddr) -> bool {
    let interfaces = interfaces().unwrap_or_default();
    ip.is_loopback() || interfaces.iter().any(|interface| interface.addresses.contains(&ip))
}
