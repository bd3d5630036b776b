//! Which addresses a viewer may make us send to. Pure.
//!
//! A candidate is an address that somebody else wrote down, and ICE sends packets to it before anybody has
//! answered from there (RFC 8445 §19.5.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a viewer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CandidatePolicy {
    /// Anywhere that a viewer can be.
    #[default]
    Any,
    /// On private networks only.
    Local,
}

/// Where machines in clouds find their credentials: no viewer is there.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

impl CandidatePolicy {
    /// Whether checks may be sent to this address.
    pub fn allows(self, ip: IpAddr) -> bool {
        let ip = plain(ip);
        if METADATA.contains(&ip) {
            return false;
        }
        let somebodys = match ip {
            IpAddr::V4(ip) => is_somebodys_v4(ip),
            IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast()),
        };
        somebodys && (self == Self::Any || is_private(ip))
    }
}

/// An IPv4 address in the clothes of an IPv6 one is judged as what it is (RFC 4291 §2.5.5, RFC 6052 §2.1).
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let dressed = matches!(
        [a, b, c, d, e, f],
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0]
    );
    if matches!(ip, IpAddr::V6(Ipv6Addr::UNSPECIFIED | Ipv6Addr::LOCALHOST)) || !dressed {
        return ip;
    }
    let [high, low] = [g.to_be_bytes(), h.to_be_bytes()];
    Ipv4Addr::new(high[0], high[1], low[0], low[1]).into()
}

fn is_somebodys_v4(ip: Ipv4Addr) -> bool {
    // 0/8 is this network, 240/4 reserved, its last address the broadcast (RFC 6890 §2.2.2).
    !(ip.octets()[0] == 0 || ip.octets()[0] >= 240 || ip.is_loopback() || ip.is_multicast())
}

/// Private networks, shared address space (RFC 6598), link-local and unique local addresses.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(policy: CandidatePolicy, text: &str) -> bool {
        policy.allows(text.parse().unwrap())
    }

    #[test]
    fn nobody_is_at_these_addresses() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "224.0.0.251",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "::",
            "::1",
            "ff02::fb",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "::ffff:224.0.0.1",
        ] {
            assert!(!allowed(CandidatePolicy::Any, text), "{text}");
            assert!(!allowed(CandidatePolicy::Local, text), "{text}");
        }
    }

    #[test]
    fn local_means_private_networks() {
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.20",
            "169.254.7.7",
            "100.64.0.1",
            "fe80::1",
            "fd12::1",
            "::ffff:192.168.1.20",
        ] {
            assert!(allowed(CandidatePolicy::Any, text), "{text}");
            assert!(allowed(CandidatePolicy::Local, text), "{text}");
        }
        for text in [
            "192.0.2.1",
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(allowed(CandidatePolicy::Any, text), "{text}");
            assert!(!allowed(CandidatePolicy::Local, text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn clothes_change_nothing(address: u32) {
            let v4 = Ipv4Addr::from(address);
            let mapped = IpAddr::V6(v4.to_ipv6_mapped());
            for policy in [CandidatePolicy::Any, CandidatePolicy::Local] {
                prop_assert_eq!(policy.allows(v4.into()), policy.allows(mapped));
            }
        }

        #[test]
        fn local_is_never_wider_than_any(address: u128) {
            let ip = IpAddr::V6(Ipv6Addr::from(address));
            prop_assert!(CandidatePolicy::Any.allows(ip) || !CandidatePolicy::Local.allows(ip));
        }
    }
}
