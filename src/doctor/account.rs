//! Who the service runs as, and what that user may open. Only what stands in `/etc/passwd` and `/etc/group` is
//! known here.

use std::{
    env, fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{is_root, output_of};
use crate::app;

/// The unit, as it is shipped.
pub(super) const UNIT: &str = "perch.service";
/// The user that the unit runs as, where nothing else is known.
const USER: &str = "perch";

/// A user with all of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    uid: u32,
    groups: Vec<u32>,
    /// Whether it is the one who asks.
    pub is_us: bool,
}

impl Account {
    /// The service's user: the unit's, or `perch` where there is one; else whoever asks.
    pub(super) async fn of_service() -> Self {
        let unit = output_of(
            "systemctl",
            &[
                "show",
                UNIT,
                "-p",
                "LoadState",
                "-p",
                "User",
                "-p",
                "SupplementaryGroups",
            ],
        )
        .await
        .unwrap_or_default();
        let property = |name: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix('=').filter(|value| !value.is_empty())
        };
        let supplementary: Vec<&str> = property("SupplementaryGroups")
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
        let user = property("User").unwrap_or(USER);
        Self::from_files(&passwd, &group, user, &supplementary).unwrap_or_else(Self::own)
    }

    pub(super) fn from_files(
        passwd: &str,
        group: &str,
        name: &str,
        supplementary: &[&str],
    ) -> Option<Self> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let entry = passwd
            .lines()
            .map(fields)
            .find(|fields| fields[0] == name)?;
        let uid = entry.get(2)?.parse().ok()?;
        let mut groups = vec![entry.get(3)?.parse().ok()?];
        for fields in group.lines().map(fields) {
            let [group, _, gid, members] = &fields[..] else {
                continue;
            };
            let is_member = members.split(',').any(|member| member == name);
            if let Ok(gid) = gid.parse()
                && (is_member || supplementary.contains(&group.as_str()))
            {
                groups.push(gid);
            }
        }
        Some(Self {
            name: name.to_owned(),
            uid,
            groups,
            is_us: Some(uid) == own_ids("Uid:").first().copied(),
        })
    }

    fn own() -> Self {
        let uid = own_ids("Uid:").first().copied().unwrap_or_default();
        let mut groups = own_ids("Gid:");
        groups.extend(own_ids("Groups:"));
        Self {
            name: name_of(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid),
            uid,
            groups,
            is_us: true,
        }
    }

    /// Where the service's state is, which is ours only where we are who it runs as.
    pub(super) fn state_dir(&self) -> Option<PathBuf> {
        if self.is_us || env::var_os("STATE_DIRECTORY").is_some() {
            app::state_dir().ok()
        } else {
            Some(PathBuf::from(app::SYSTEM_STATE_DIR))
        }
    }

    /// Whether the file's mode lets this user read and write. Access lists are not looked at.
    pub(super) fn may_use(&self, file: &fs::Metadata) -> bool {
        let granted = if self.uid == 0 {
            return true;
        } else if file.uid() == self.uid {
            file.mode() >> 6
        } else if self.groups.contains(&file.gid()) {
            file.mode() >> 3
        } else {
            file.mode()
        };
        granted & 0o6 == 0o6
    }
}

/// The numbers behind one name in our own `/proc` entry.
fn own_ids(name: &str) -> Vec<u32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default()
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

/// A group's name, or its number.
pub(super) fn group_name(gid: u32) -> String {
    name_of(&fs::read_to_string("/etc/group").unwrap_or_default(), gid)
}

/// The name that `/etc/passwd` or `/etc/group` has for an id, or the id itself.
fn name_of(text: &str, id: u32) -> String {
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| id.to_string())
}

/// A program that holds a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub pid: u32,
    pub name: String,
}

/// Who has the device open, as far as `/proc` lets us see: of other users' programs only root sees that.
pub(super) fn holders(device: &Path) -> (Vec<Holder>, bool) {
    let mut holders = Vec::new();
    let mut saw_all = is_root();
    // The kernel names what is open by its own path, without links.
    let found = fs::canonicalize(device).and_then(|node| {
        let number = fs::metadata(&node)?.rdev();
        Ok((node, number))
    });
    let Ok((node, number)) = found else {
        return (holders, false);
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return (holders, false);
    };
    let pids = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    for pid in pids {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            // Gone meanwhile, or somebody else's.
            saw_all &= is_root();
            continue;
        };
        let mut links = open.flatten().map(|entry| entry.path());
        if links.any(|link| leads_to(&link, &node, number)) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim().to_owned();
            holders.push(Holder { pid, name });
        }
    }
    (holders, saw_all)
}

/// Whether an entry of `/proc/*/fd` is the device `node` with this number. What else is open is not touched: to ask
/// a file on a network that is gone how it is takes for ever.
fn leads_to(link: &Path, node: &Path, number: u64) -> bool {
    fs::read_link(link).is_ok_and(|target| target == node)
        && fs::metadata(link)
            .is_ok_and(|file| file.file_type().is_char_device() && file.rdev() == number)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/bash\nperch:x:123:456::/:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nvideo:x:44:other,perch\naudio:x:29:perchy\nrender:x:105:\n";

    #[test]
    fn groups_are_those_of_the_files_and_of_the_unit() {
        let account = Account::from_files(PASSWD, GROUP, "perch", &["render"]).unwrap();
        assert_eq!(
            (account.uid, &account.groups[..]),
            (123, &[456, 44, 105][..])
        );
        assert_eq!(Account::from_files(PASSWD, GROUP, "nobody", &[]), None);
        assert_eq!(Account::from_files("perch", GROUP, "perch", &[]), None);
        assert_eq!(name_of(PASSWD, 123), "perch");
        assert_eq!(name_of(GROUP, 7), "7");
    }

    #[test]
    fn the_mode_decides_who_may_use_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let owner = file.as_file().metadata().unwrap();
        let account = |uid, gid| Account {
            name: String::new(),
            uid,
            groups: vec![gid],
            is_us: false,
        };
        let (other, group) = (owner.uid() + 1, owner.gid());
        let may = |mode, account: Account| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            account.may_use(&fs::metadata(file.path()).unwrap())
        };
        assert!(may(0o660, account(other, group)));
        assert!(!may(0o640, account(other, group)));
        assert!(!may(0o660, account(other, group + 1)));
        assert!(may(0o606, account(other, group + 1)));
        assert!(may(0o000, account(0, group + 1)));
    }

    #[test]
    fn only_the_device_itself_is_asked_how_it_is() {
        use std::os::unix::fs::symlink;
        let (directory, node) = (tempfile::tempdir().unwrap(), Path::new("/dev/full"));
        let number = fs::metadata(node).unwrap().rdev();
        let [device, other, way, null] =
            ["3", "4", "way", "5"].map(|name| directory.path().join(name));
        symlink(node, &device).unwrap();
        symlink(node, &way).unwrap();
        // Would be taken for the device only by following it.
        symlink(&way, &other).unwrap();
        symlink("/dev/null", &null).unwrap();
        assert!(leads_to(&device, node, number));
        assert!(!leads_to(&other, node, number));
        assert!(!leads_to(&null, node, number));
        assert!(
            !leads_to(&device, node, number + 1),
            "another device by now"
        );
    }

    #[test]
    fn who_holds_a_device_is_found() {
        let device = Path::new("/dev/full");
        let open = fs::File::open(device).unwrap();
        let ours = std::process::id();
        let (found, _) = holders(device);
        assert!(
            found
                .iter()
                .any(|holder| holder.pid == ours && !holder.name.is_empty())
        );
        drop(open);
    }
}
