//! Destinations: addresses, names, loops.

use super::Check;
use crate::config::Destination;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most instances that may be in doubt: each may be sent once more after a crash.
const MOST_OUTSTANDING: u16 = 64;

impl Check<'_> {
    pub(super) fn destinations(&mut self) {
        let config = self.config;
        if config.destination.is_empty() && self.destinations.is_empty() {
            self.warning("", "there is no [[destination]]: what is received stays in the spool");
        }
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut peers: HashMap<(&str, &str), usize> = HashMap::new();
        for (index, destination) in config.destination.iter().enumerate() {
            let path = format!("destination[{index}]");
            self.destination(&path, destination);
            if let Some(first) = names.insert(&destination.name, index) {
                let line = self.places.line(&format!("destination[{first}].name"));
                let message = format!("a destination \"{}\" stands in line {line} already", destination.name);
                self.error(&format!("{path}.name"), message);
            }
            if let Some(first) = peers.insert((&destination.ae_title, &destination.address), index) {
                let first = &config.destination[first].name;
                let message = format!("the same AE title and address as \"{first}\": it would get everything twice");
                self.warning(&format!("{path}.address"), message);
            }
        }
    }

    fn destination(&mut self, path: &str, destination: &Destination) {
        self.name(&format!("{path}.name"), &destination.name);
        self.ae_title(&format!("{path}.ae_title"), &destination.ae_title);
        if let Some(title) = &destination.calling_ae_title {
            self.ae_title(&format!("{path}.calling_ae_title"), title);
        }
        self.address(path, destination);
        self.at_least_one(&format!("{path}.max_associations"), destination.max_associations);
        if !(1..=MOST_OUTSTANDING).contains(&destination.max_outstanding) {
            let message = format!("max_outstanding must be 1 (nothing is asked of it) to {MOST_OUTSTANDING}");
            self.error(&format!("{path}.max_outstanding"), message);
        }
        self.duration(&format!("{path}.timeout"), destination.timeout, false);
        let retry = &destination.retry;
        self.duration(&format!("{path}.retry.first"), retry.first, false);
        self.duration(&format!("{path}.retry.most"), retry.most, false);
        if retry.first > retry.most {
            self.error(&format!("{path}.retry.first"), "retry.first is longer than retry.most");
        }
        if let Some(max_age) = retry.max_age {
            self.duration(&format!("{path}.retry.max_age"), max_age, false);
        }
    }

    /// A name for logs, the queue and the command line.
    pub(super) fn name(&mut self, path: &str, name: &str) {
        if name.trim().is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            self.error(path, "a name must have 1 to 64 printable characters");
        } else if name.trim() != name {
            self.error(path, format!("the name \"{name}\" has spaces around it"));
        }
    }

    fn address(&mut self, path: &str, destination: &Destination) {
        let at = format!("{path}.address");
        let Some((host, port)) = host_and_port(&destination.address) else {
            let message =
                format!("\"{}\" is no address: host:port, or [IPv6]:port", destination.address.escape_debug());
            return self.error(&at, message);
        };
        let ours = self.config.listen.address;
        let our_title = self.config.node.ae_title == destination.ae_title
            || self.config.node.also_called.contains(&destination.ae_title);
        if port == ours.port() && is_this_host(host, ours) {
            let message =
                format!("\"{}\" is where this router listens: every instance would come back", destination.address);
            self.error(&at, message);
        } else if our_title {
            let message = format!(
                "{} is an AE title of this router: if the address is too, instances go in a loop",
                destination.ae_title
            );
            self.warning(&format!("{path}.ae_title"), message);
        }
    }
}

fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|ip| ip.parse::<Ipv6Addr>().is_ok())?,
        None => host,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    let bare_v6 = host.contains(':') && !address.starts_with('[');
    (!host.is_empty() && host.chars().all(plain) && !bare_v6).then_some((host, port))
}

/// Does `host` certainly mean the address that we listen on? Names are not resolved: the answer must not depend on the
/// network.
fn is_this_host(host: &str, ours: SocketAddr) -> bool {
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => match host.parse() {
            Ok(ip) => ip,
            Err(_) => return false,
        },
    };
    let any = ours.ip().is_unspecified();
    ip == ours.ip() || (any && (ip.is_loopback() || ip.is_unspecified()))
}
