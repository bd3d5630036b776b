//! A network of its own for the device: a namespace behind a veth pair whose other end is here.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Of this process; a second subnet is for a device that moves.
static NEXT: AtomicU8 = AtomicU8::new(0);
const SUBNETS: [u8; 2] = [233, 234];

/// Names of nft's counters.
const MET: &str = "met";
const DROPPED: &str = "dropped";

/// Packets that a loss has met, and how many of them it dropped.
#[derive(Debug, Clone, Copy)]
pub struct Losses {
    pub met: u64,
    pub dropped: u64,
}

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

    /// Drops this many of a hundred packets in both directions; only datagrams, or everything. They are counted
    /// from here on.
    pub fn lose(&self, percent: u8, everything: bool) -> Result<()> {
        let which = if everything { "" } else { "meta l4proto udp " };
        let how_many = match percent {
            100.. => String::new(),
            _ => format!("numgen random mod 100 < {percent} "),
        };
        self.heal()?;
        let chains: String = ["input", "output"]
            .iter()
            .map(|hook| {
                format!(
                    "chain {hook} {{ type filter hook {hook} priority 0; \
                     {which}counter name {MET}; \
                     {which}{how_many}counter name {DROPPED} drop; }}\n"
                )
            })
            .collect();
        self.nft(&format!(
            "table inet faults {{\ncounter {MET} {{ }}\ncounter {DROPPED} {{ }}\n{chains}}}\n"
        ))
    }

    /// What [`Self::lose`] has done so far.
    pub fn losses(&self) -> Result<Losses> {
        let list = "nft -j list counters table inet faults".split(' ');
        let words: Vec<&str> = ["netns", "exec", &self.name]
            .into_iter()
            .chain(list)
            .collect();
        let said: Value = serde_json::from_str(&ask("ip", &words, "")?)?;
        let counters = said["nftables"].as_array().context("nft has counters")?;
        let packets = |name: &str| {
            let counters = counters.iter().map(|item| &item["counter"]);
            let mut named = counters.filter(|counter| counter["name"] == name);
            let packets = named.next().and_then(|counter| counter["packets"].as_u64());
            packets.with_context(|| format!("nft has no counter {name}"))
        };
        Ok(Losses {
            met: packets(MET)?,
            dropped: packets(DROPPED)?,
        })
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

    /// The device has an address on the second subnet as well.
    pub fn take_second(&self) -> Result<()> {
        self.ip(&["address", "add", &self.far(1), "dev", &self.inside])
    }

    /// This side's address on the second subnet.
    pub fn second_near(&self) -> IpAddr {
        address(SUBNETS[1], self.number, 1).into()
    }

    pub fn leave_second(&self) -> Result<()> {
        self.ip(&["address", "delete", &self.far(1), "dev", &self.inside])
    }

    /// No datagrams from and to the device's first address, until [`Self::heal`]: viewers are reached from the second.
    pub fn close_first(&self) -> Result<()> {
        let first = address(SUBNETS[0], self.number, 2);
        let chains: String = [("input", "daddr"), ("output", "saddr")]
            .iter()
            .map(|(hook, side)| {
                format!(
                    "chain {hook} {{ type filter hook {hook} priority 0; \
                     ip {side} {first} meta l4proto udp drop; }}\n"
                )
            })
            .collect();
        self.nft(&format!("table inet faults {{\n{chains}}}\n"))
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
    ask(program, words, input).map(drop)
}

/// The same for what it answers.
fn ask(program: &str, words: &[&str], input: &str) -> Result<String> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
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
    Ok(String::from_utf8(output.stdout)?)
}
