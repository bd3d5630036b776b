//! The device's addresses and default routes, and when they change.
//!
//! The kernel tells over a netlink socket (rtnetlink(7)) *that* something changed; what there is now is read
//! anew, so that nothing depends on having heard every word.

mod listen;

use std::{collections::BTreeSet, fs, io, net::IpAddr, time::Duration};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::debug;

use self::listen::Listener;

/// So long must nothing change any more: an address that is renewed goes and comes.
const SETTLES: Duration = Duration::from_millis(300);
/// After this long it is looked at whatever happens.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// Where the kernel cannot be listened to, this is how often it is asked.
const POLL: Duration = Duration::from_secs(5);

/// How the device is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Of interfaces that are up; the loopback is left out.
    pub addresses: BTreeSet<IpAddr>,
    /// Interface and gateway of each default route, as the kernel writes them.
    pub routes: BTreeSet<String>,
}

/// What is different between two looks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    pub lost: Vec<IpAddr>,
    pub gained: Vec<IpAddr>,
    pub rerouted: bool,
}

impl Network {
    /// How it is now; an error where the interfaces cannot be listed, as in a process without free descriptors.
    pub fn read() -> io::Result<Self> {
        let addresses = getifaddrs()?.filter_map(|one| address(&one)).collect();
        let table = |file| fs::read_to_string(file).unwrap_or_default();
        let mut routes = default_routes_v4(&table("/proc/net/route"));
        routes.extend(default_routes_v6(&table("/proc/net/ipv6_route")));
        Ok(Self { addresses, routes })
    }

    /// What has changed until `later`.
    pub fn change(&self, later: &Self) -> Change {
        let without = |all: &BTreeSet<IpAddr>, some: &BTreeSet<IpAddr>| {
            all.difference(some).copied().collect::<Vec<_>>()
        };
        Change {
            lost: without(&self.addresses, &later.addresses),
            gained: without(&later.addresses, &self.addresses),
            rerouted: self.routes != later.routes,
        }
    }
}

impl Change {
    /// Whether there may be a way now that there was not before.
    pub fn opens_a_way(&self) -> bool {
        !self.gained.is_empty() || self.rerouted
    }
}

fn address(one: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    let up = one.flags.contains(InterfaceFlags::IFF_UP);
    if !up || one.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
        return None;
    }
    let address = one.address.as_ref()?;
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (_, Some(v6)) => Some(v6.ip().into()),
        _ => None,
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, in hexadecimal (proc_pid_net(5)).
fn default_routes_v4(table: &str) -> BTreeSet<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [
            interface,
            "00000000",
            gateway,
            _,
            _,
            _,
            metric,
            "00000000",
            ..,
        ] = words[..]
        else {
            return None;
        };
        Some(format!("{interface} {gateway} {metric}"))
    });
    routes.collect()
}

/// `destination prefix source prefix next-hop metric refcnt use flags interface`, in hexadecimal.
fn default_routes_v6(table: &str) -> BTreeSet<String> {
    let nowhere = "0".repeat(32);
    let routes = table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [to, "00", _, _, gateway, metric, _, _, _, interface] = words[..] else {
            return None;
        };
        // The kernel's own "unreachable" stands with the loopback.
        (to == nowhere && interface != "lo").then(|| format!("{interface} {gateway} {metric}"))
    });
    routes.collect()
}

/// The next state of the network that differs from the one seen last. Never, once nobody follows it any more.
pub async fn next(seen: &mut watch::Receiver<Network>) -> Network {
    match seen.changed().await {
        Ok(()) => seen.borrow_and_update().clone(),
        Err(_) => std::future::pending().await,
    }
}

/// Keeps `shown` up to date for as long as somebody looks.
pub async fn follow(shown: watch::Sender<Network>) {
    let listener = Listener::open()
        .inspect_err(|error| {
            debug!(%error, "the kernel does not tell of changes; asking it every few seconds");
        })
        .ok();
    look(shown, listener, Network::read).await;
}

async fn look(
    shown: watch::Sender<Network>,
    mut listener: Option<Listener>,
    mut read: impl FnMut() -> io::Result<Network>,
) {
    loop {
        // The first look is after the socket is open: nothing falls between the two.
        let seen = match read() {
            Ok(now) => {
                shown.send_if_modified(|known| {
                    let changed = *known != now;
                    *known = now;
                    changed
                });
                true
            }
            Err(error) => {
                // What was known stays: that nothing can be seen does not say that all is lost.
                debug!(%error, "the interfaces cannot be listed; trying again soon");
                false
            }
        };
        tokio::select! {
            () = shown.closed() => return,
            () = next_change(&mut listener) => {}
            () = sleep(POLL), if !seen => {}
        }
    }
}

async fn next_change(listener: &mut Option<Listener>) {
    let heard = match listener {
        Some(open) => open.heard().await,
        None => return sleep(POLL).await,
    };
    if let (Err(error), Some(_)) = (heard, &listener) {
        debug!(%error, "the kernel tells of no more changes; asking it every few seconds");
        *listener = None;
        return;
    }
    let latest = Instant::now() + SETTLES_WITHIN;
    while let Some(open) = listener
        && Instant::now() < latest
        && let Ok(Ok(())) = timeout(SETTLES, open.heard()).await
    {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(addresses: &[&str], routes: &[&str]) -> Network {
        Network {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            routes: routes.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_lost_and_what_is_gained() {
        let before = network(&["192.0.2.1", "2001:db8::1"], &["eth0 x"]);
        let after = network(&["192.0.2.1", "198.51.100.1"], &["eth0 x"]);
        let change = before.change(&after);
        assert_eq!(change.lost, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(change.gained, ["198.51.100.1".parse::<IpAddr>().unwrap()]);
        assert!(!change.rerouted && change.opens_a_way());
        assert_eq!(before.change(&before), Change::default());
        let gone = before.change(&network(&[], &["eth0 x"]));
        assert_eq!(gone.lost.len(), 2);
        assert!(!gone.opens_a_way());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_fails_loses_no_address_and_is_made_again() {
        let first = network(&["192.0.2.1"], &[]);
        let later = network(&["192.0.2.2"], &[]);
        let (shown, mut seen) = watch::channel(first.clone());
        let mut looks = [
            Err(io::Error::from_raw_os_error(24)),
            Err(io::Error::from_raw_os_error(24)),
            Ok(later.clone()),
        ]
        .into_iter();
        let following = tokio::spawn(look(shown, None, move || {
            looks.next().unwrap_or_else(|| Ok(Network::default()))
        }));
        let began = Instant::now();
        assert_eq!(next(&mut seen).await, later);
        assert_eq!(began.elapsed(), 2 * POLL);
        following.abort();
    }

    #[test]
    fn default_routes_are_told_from_others() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
                  broken\n";
        let routes: Vec<_> = default_routes_v4(v4).into_iter().collect();
        assert_eq!(routes, ["eth0 0102A8C0 100"]);
        let none = "00000000000000000000000000000000";
        let gateway = "fe800000000000000000000000000001";
        let v6 = format!(
            "{none} 00 {none} 00 {gateway} 00000400 00000001 00000000 00000003 wlan0\n\
             {none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200 lo\n\
             fe800000000000000000000000000000 40 {none} 00 {none} 00000100 1 0 1 wlan0\n"
        );
        let routes: Vec<_> = default_routes_v6(&v6).into_iter().collect();
        assert_eq!(routes, [format!("wlan0 {gateway} 00000400")]);
    }
}
