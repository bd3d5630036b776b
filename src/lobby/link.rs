//! The watch link: the address of the lobby's page with the key in its fragment, which a browser keeps to
//! itself, for the eye and as a QR code for a phone.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::tls::TlsFiles;
use crate::secret::Secret;

/// Addresses that belong to nobody (RFC 5737, RFC 3849): the way to them shows which of our own
/// addresses the rest of the network sees. Nothing is ever sent.
const SOMEWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SOMEWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The links under which a lobby that listens on `listen` can be watched, the likeliest first; at
/// least one. They carry the key: for the terminal of whoever started the lobby, not for logs.
///
/// With TLS a browser takes the certificate's names only, so the link has the first of them.
pub fn watch_links(listen: SocketAddr, tls: Option<&TlsFiles>, watch_key: &Secret) -> Vec<String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let name = tls.and_then(TlsFiles::name);
    name.map_or_else(|| hosts(listen.ip()), |name| vec![name])
        .into_iter()
        .map(|host| {
            format!(
                "{scheme}://{host}:{}/#{}",
                listen.port(),
                watch_key.expose()
            )
        })
        .collect()
}

/// A link as a QR code of half blocks, dark on light with a quiet zone, for a terminal of any colours.
/// `None` if the link is too long for one.
pub fn qr_code(link: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L).ok()?;
    // The terminal paints its foreground where the code is light: most terminals are dark.
    let image = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    Some(image)
}

/// How the machine is called from outside, if it listens on every address; else that address itself.
fn hosts(listen: IpAddr) -> Vec<String> {
    if !listen.is_unspecified() {
        return vec![in_url(listen)];
    }
    let candidates = match listen {
        IpAddr::V4(_) => vec![outward(SOMEWHERE_V4)],
        // Linux gives a socket on `::` the IPv4 traffic as well.
        IpAddr::V6(_) => vec![outward(SOMEWHERE_V4), outward(SOMEWHERE_V6)],
    };
    let mut hosts: Vec<String> = candidates.into_iter().flatten().map(in_url).collect();
    if hosts.is_empty() {
        hosts.push(host_name().unwrap_or_else(|| "localhost".to_owned()));
    }
    hosts
}

/// The address of ours that a packet to `target` would carry.
fn outward(target: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match target {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // For UDP this only asks the routing table.
    socket.connect((target, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty() && name != "(none)").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(listen: &str) -> Vec<String> {
        watch_links(listen.parse().unwrap(), None, &Secret::new("the-key"))
    }

    #[test]
    fn a_link_names_the_address_and_carries_the_key_in_its_fragment() {
        assert_eq!(links("127.0.0.1:8080"), ["http://127.0.0.1:8080/#the-key"]);
        assert_eq!(links("[::1]:8080"), ["http://[::1]:8080/#the-key"]);
        assert_eq!(links("192.0.2.7:80"), ["http://192.0.2.7:80/#the-key"]);
    }

    #[test]
    fn a_lobby_on_every_address_has_a_link_that_somebody_else_can_follow() {
        for listen in ["0.0.0.0:8080", "[::]:8080"] {
            let links = links(listen);
            assert!(!links.is_empty());
            for link in links {
                let url = url::Url::parse(&link).unwrap();
                assert_eq!(url.port(), Some(8080), "{link}");
                assert_eq!(url.fragment(), Some("the-key"), "{link}");
                assert!(
                    !link.contains("0.0.0.0") && !link.contains("[::]"),
                    "{link}"
                );
            }
        }
    }

    #[test]
    fn the_qr_code_is_a_square_with_a_quiet_zone() {
        let text = qr_code("http://192.168.100.100:8080/#0123456789abcdefghijkl").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        // Two rows of modules to a line of text, and the last line may be half empty.
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(width <= 60, "fits a terminal of 80 columns");
        // Light is painted, so the quiet zone is a full block.
        assert!(lines[0].chars().all(|block| block == '█'));
        assert_eq!(qr_code(&"x".repeat(5000)), None);
    }
}
