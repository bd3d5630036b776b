//! The syntax of STUN and TURN addresses. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What kind of server an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Stun,
    Turn,
}

/// Reads an address in the syntax of RFC 7064 (`stun:`) or RFC 7065 (`turn:`, `turns:`). The error
/// tells what is wrong with it without repeating it: it might hold a password.
pub(super) fn check_url(url: &str) -> Result<Service, String> {
    let (scheme, rest) = url
        .split_once(':')
        .ok_or("it has no scheme (stun:, turn: or turns:)")?;
    let scheme = scheme.to_ascii_lowercase();
    let service = match scheme.as_str() {
        "stun" => Service::Stun,
        "turn" | "turns" => Service::Turn,
        "stuns" => return Err("stuns: is not supported; use stun: or turns:".into()),
        _ => return Err("its scheme is none of stun:, turn: and turns:".into()),
    };
    if rest.starts_with("//") {
        return Err(format!("write {scheme}:HOST, without //"));
    }
    if rest.contains('@') {
        return Err(
            "user name and password do not belong into it; use username and credential_file".into(),
        );
    }
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (rest, None),
    };
    match (service, query) {
        (_, None) => {}
        (Service::Stun, Some(_)) => return Err("a stun: address has no ?parameters".into()),
        (Service::Turn, Some("transport=tcp")) => {}
        (Service::Turn, Some("transport=udp")) if scheme == "turn" => {}
        (Service::Turn, Some("transport=udp")) => {
            return Err("turns: means TLS, which runs over transport=tcp".into());
        }
        (Service::Turn, Some(_)) => {
            return Err("its only parameter is ?transport=udp or ?transport=tcp".into());
        }
    }
    check_address(address)?;
    Ok(service)
}

/// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`.
fn check_address(address: &str) -> Result<(), String> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("its [ is never closed")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("what stands between [ and ] is not an IPv6 address".into());
        }
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err("after ] only :PORT can follow".into()),
        };
        (None, port)
    } else {
        match address.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(address), None),
        }
    };
    if let Some(port) = port {
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0);
        if !is_port {
            return Err(
                "its port is not a number from 1 to 65535 (an IPv6 address stands in [ ])".into(),
            );
        }
    }
    match host {
        Some(host) if !is_host(host) => Err("it has no valid host name or address".into()),
        _ => Ok(()),
    }
}

/// A host name of letters, digits, `-` and `_` in labels of up to 63 (RFC 1123), or an IPv4 address.
fn is_host(host: &str) -> bool {
    if host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_rfcs_are_taken() {
        for url in [
            "stun:example.org",
            "stun:example.org:3478",
            "stun:192.0.2.1",
            "stun:[2001:db8::1]:3478",
            "STUN:example.org",
        ] {
            assert_eq!(check_url(url), Ok(Service::Stun), "{url}");
        }
        for url in [
            "turn:example.org",
            "turn:example.org:8000?transport=udp",
            "turn:[2001:db8::1]?transport=tcp",
            "turns:turn.example.org:5349",
            "turns:turn.example.org?transport=tcp",
        ] {
            assert_eq!(check_url(url), Ok(Service::Turn), "{url}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_reason() {
        for (url, reason) in [
            ("example.org", "no scheme"),
            ("http:example.org", "scheme is none of"),
            ("stuns:example.org", "not supported"),
            ("stun://example.org", "without //"),
            ("stun:example.org?transport=udp", "no ?parameters"),
            ("turn:example.org?transport=sctp", "only parameter"),
            ("turns:example.org?transport=udp", "TLS"),
            ("turn:me:pass@example.org", "credential_file"),
            ("stun:", "host"),
            ("stun:example.org:0", "port"),
            ("stun:example.org:65536", "port"),
            ("stun:example.org:+1", "port"),
            ("stun:2001:db8::1", "port"),
            ("stun:[2001:db8::1", "never closed"),
            ("stun:[example.org]", "IPv6"),
            ("stun:[::1]3478", "only :PORT"),
            ("stun:300.0.0.1", "host"),
            ("stun:exa mple.org", "host"),
            ("stun:-example.org", "host"),
            ("turn:example..org", "host"),
        ] {
            let error = check_url(url).expect_err(url);
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
