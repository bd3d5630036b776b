//! The network between the device and everybody else.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::{Needs, PATIENCE, SCENARIO_PATIENCE, Scenario, UNTOUCHED, seconds};
use crate::{
    journal::Mark,
    network::{Losses, Network},
    stage::{Outcome, Setting, Stage, World},
};

/// How long packets get lost; the fault itself, not a wait for something.
const LOSS: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(30);
/// The least frames of 15 a second that get through with this loss, of a hundred.
const LEAST: [(u8, u64); 2] = [(5, 70), (20, 30)];

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "loss-5",
            fault: "5 % of packets lost".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(20),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| loss(world, "loss-5", LEAST[0]).boxed()),
        },
        Scenario {
            name: "loss-20",
            fault: "20 % of packets lost".into(),
            most_gap: seconds(8),
            well_within: seconds(20),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| loss(world, "loss-20", LEAST[1]).boxed()),
        },
        Scenario {
            name: "outage",
            fault: "30 s without any packet".into(),
            most_gap: seconds(90),
            well_within: seconds(60),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| outage(world).boxed()),
        },
        Scenario {
            name: "address-changed",
            fault: "the device's address is another one".into(),
            most_gap: seconds(60),
            well_within: seconds(60),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| moved(world).boxed()),
        },
        Scenario {
            name: "address-lost",
            fault: "one of the device's two addresses goes, not that of the line".into(),
            most_gap: seconds(20),
            well_within: seconds(20),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| lost_one(world).boxed()),
        },
        Scenario {
            name: "dns-late",
            fault: "no DNS at the start, later there is".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(90),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| dns_late(world).boxed()),
        },
    ]
}

fn apart() -> Setting {
    Setting {
        network: true,
        ..Setting::default()
    }
}

fn of<'a>(stage: &'a Stage<'_>) -> Result<&'a Network> {
    stage.network.as_ref().context("this stage has a network")
}

async fn loss(world: &World, name: &str, (percent, least): (u8, u64)) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, name, apart()).await?;
    let before = watcher.frames();
    of(&stage)?.lose(percent, false)?;
    sleep(LOSS).await;
    let frames = watcher.frames() - before;
    let gap = watcher.gap();
    let due = 15 * LOSS.as_secs() * least / 100;
    let Losses { met, dropped } = of(&stage)?.losses()?;
    let meant = met * u64::from(percent) / 100;
    ensure!(
        (meant / 4..=2 * meant).contains(&dropped) && dropped > 0,
        "{dropped} of {met} packets were dropped, which is not {percent} %"
    );
    ensure!(
        frames >= due,
        "{frames} frames came in {LOSS:?}, fewer than {due}"
    );
    of(&stage)?.heal()?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    ensure!(watcher.joins() == 1, "the watcher had to join anew");
    Ok(Outcome {
        gap,
        recovered,
        line: format!(
            "-- {frames} of {} frames came; {dropped} of {met} packets were dropped",
            15 * LOSS.as_secs()
        ),
    })
}

async fn outage(world: &World) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, "outage", apart()).await?;
    let mark = stage.mark();
    of(&stage)?.lose(100, true)?;
    sleep(OUTAGE).await;
    let Losses { met, dropped } = of(&stage)?.losses()?;
    // One may have been met and not yet dropped at the look.
    ensure!(
        dropped > 0 && met - dropped <= 1,
        "{dropped} of {met} packets were dropped, which is no outage"
    );
    of(&stage)?.heal()?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    let line = stage.line(mark, &["line-lost"], PATIENCE).await?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

async fn moved(world: &World) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, "address-changed", apart()).await?;
    let mark = stage.mark();
    of(&stage)?.renumber()?;
    let line = stage.line(mark, &["line-lost"], PATIENCE).await?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    // The line went over the old address, too: the lobby gives the stream a new id, and ends the former one for
    // who watched it.
    ensure!(
        watcher.joins() == 2,
        "the watcher joined {} times",
        watcher.joins()
    );
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

/// A device with two addresses, as with a cable and WLAN: the line goes over the one that stays, the viewer
/// is reached from the other.
async fn lost_one(world: &World) -> Result<Outcome> {
    let network = Network::new()?;
    network.take_second()?;
    network.close_first()?;
    let setting = Setting {
        viewers_at: Some(network.second_near()),
        given_network: Some(network),
        ..Setting::default()
    };
    let (stage, watcher) = Stage::watched(world, "address-lost", setting).await?;
    let mark = stage.mark();
    of(&stage)?.heal()?;
    of(&stage)?.leave_second()?;
    // The host comes to the viewer with a new offer.
    let rebuilt = ["viewer-rebuilt", "reason=\"address-lost\""];
    let line = stage.line(mark, &rebuilt, PATIENCE).await?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    ensure!(watcher.joins() == 1, "the watcher had to join anew");
    let line_lost = stage.program.journal.find(mark, &["line-lost"]);
    ensure!(line_lost.is_none(), "the line was lost: {line_lost:?}");
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

/// Files of a namespace that `ip netns exec` binds over those of /etc.
struct Etc(PathBuf);

impl Etc {
    fn new(name: &str) -> Result<Self> {
        let directory = PathBuf::from("/etc/netns").join(name);
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    /// In place: what is bound is the file, not its name.
    fn write(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.0.join(file), text)?)
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn dns_late(world: &World) -> Result<Outcome> {
    let network = Network::new()?;
    let etc = Etc::new(&network.name)?;
    // Nobody answers there.
    etc.write(
        "resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )?;
    etc.write("hosts", "127.0.0.1 localhost\n")?;
    let near = network.near;
    let setting = Setting {
        given_network: Some(network),
        lobby_url: Some("http://lobby.faults.test:{port}/".into()),
        ..Setting::default()
    };
    let stage = Stage::set(world, "dns-late", setting).await?;
    let line = stage
        .line(Mark::START, &["line-lost", "lobby.faults.test"], PATIENCE)
        .await?;
    ensure!(line.contains("reason=\"dns\""), "another reason: {line}");
    etc.write(
        "hosts",
        &format!("127.0.0.1 localhost\n{near} lobby.faults.test\n"),
    )?;
    let watcher = stage.watcher();
    let recovered = stage.well(&watcher, 2 * PATIENCE).await?;
    watcher.mark();
    stage.moves(&watcher, PATIENCE).await?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}
