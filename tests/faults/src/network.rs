//! A network of its own for the device: a namespace behind a veth pair whose other end is here.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};

/// Of this process; a second subnet is for a device that moves.
static NEXT: AtomicU8 = AtomicU8::new(0);
const SUBNETS: [u8; 2] = [233, 234];

/// It goes when this is dropped.
pub struct Network {
    pub name: String,
    /// This side's address.
    pub near: Ipv4Addr,
    inside: String,
    outside: String,
    number: u8,
    /// Which of the subnets its address is on.
    subnet: AtomicUsize,
}

impl Network {
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        ensure!(number < 64, "more networks than a subnet has places");
        let id = std::process::id();
        let network = Self {
            name: format!("pf{id}n{number}"),
            near: address(SUBNETS[0], number, 1),
            inside: format!("pfi{id}n{number}"),
            outside: format!("pfo{id}n{number}"),
            number,
            subnet: AtomicUsize::new(0),
        };
        let Self {
            name,
            inside,
            outside,
            ..
        } = &network;
        run("ip", &["netns", "add", name], "")?;
        let pair = [
            "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name,
        ];
        run("ip", &pair, "")?;
        run("ip", &["link", "set", outside, "up"], "")?;
        for subnet in SUBNETS {
            let near = format!("{}/30", address(subnet, number, 1));
            run("ip", &["address", "add", &near, "dev", outside], "")?;
        }
        network.ip(&["address", "add", &network.far(0), "dev", inside])?;
        network.ip(&["link", "set", inside, "up"])?;
        network.ip(&["link", "set", "lo", "up"])?;
        let near = network.near.to_string();
        network.ip(&["route", "add", "default", "via", &near])?;
        Ok(network)
    }

    /// The device's address on a subnet, with its mask.
    fn far(&self, subnet: usize) -> String {
        format!("{}/30", address(SUBNETS[subnet], self.number, 2))
    }

    /// Drops this many of a hundred packets in both directions; only datagrams, or everything.
    pub fn lose(&self, percent: u8, everything: bool) -> Result<()> {
        let which = if everything { "" } else { "meta l4proto udp " };
        let how_many = match percent {
            100.. => String::new(),
            _ => format!("numgen random mod 100 < {percent} "),
        };
        let chains: String = ["input", "output"]
            .iter()
            .map(|hook| {
                format!(
                    "chain {hook} {{ type filter hook {hook} priority 0; \
                     {which}{how_many}drop; }}\n"
                )
            })
            .collect();
        self.nft(&format!("table inet faults {{\n{chains}}}\n"))
    }

    /// Ends all losses.
    pub fn heal(&self) -> Result<()> {
        self.nft("table inet faults\ndelete table inet faults\n")
    }

    /// The device's address is another one from now on.
    pub fn renumber(&self) -> Result<()> {
        let inside = &self.inside;
        let subnet = (self.subnet.load(Ordering::SeqCst) + 1) % SUBNETS.len();
        self.subnet.store(subnet, Ordering::SeqCst);
        self.ip(&["address", "flush", "dev", inside])?;
        self.ip(&["address", "add", &self.far(subnet), "dev", inside])?;
        let near = address(SUBNETS[subnet], self.number, 1).to_string();
        self.ip(&["route", "add", "default", "via", &near])
    }

    fn ip(&self, what: &[&str]) -> Result<()> {
        let mut words = vec!["-n", self.name.as_str()];
        words.extend(what);
        run("ip", &words, "")
    }

    fn nft(&self, rules: &str) -> Result<()> {
        run(
            "ip",
            &["netns", "exec", &self.name, "nft", "-f", "-"],
            rules,
        )
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The near end first: it is ours, and goes at once.
        let _ = run("ip", &["link", "delete", &self.outside], "");
        let _ = run("ip", &["netns", "delete", &self.name], "");
    }
}

fn address(subnet: u8, number: u8, host: u8) -> Ipv4Addr {
    let third = u8::try_from(std::process::id() % 250).expect("below 250");
    Ipv4Addr::new(10, subnet, third, number * 4 + host)
}

/// Runs a program to its end with `input`; what it complains of is the error.
pub fn run(program: &str, words: &[&str], input: &str) -> Result<()> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be run"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
