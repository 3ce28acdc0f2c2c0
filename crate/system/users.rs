//! Whether an id that the kernel tells is that of this process's own user or group.
//!
//! In a user namespace that does not map all ids, the kernel tells one and the same id for all that are not mapped, 65534 unless
//! it was changed. A process may have this id itself, because it is not mapped either, or because its image runs as `nobody`.
//! Then the same number need not mean the same user.

use rustix::process::{getegid, geteuid};
use std::fs;
use std::sync::LazyLock;

/// How many ids there are; the last stands for none.
const ALL: u64 = u32::MAX as u64;

/// What the kernel has if nobody changes it.
const OVERFLOW: u32 = 65534;

/// The ids that stand for all that are not mapped; none where all are.
static ANY_USER: LazyLock<Option<u32>> = LazyLock::new(|| any_of("uid"));
static ANY_GROUP: LazyLock<Option<u32>> = LazyLock::new(|| any_of("gid"));

/// Whether it is certainly the effective user of this process.
pub fn is_own_user(uid: u32) -> bool {
    uid == geteuid().as_raw() && *ANY_USER != Some(uid)
}

/// Whether it is certainly the effective group of this process.
pub fn is_own_group(gid: u32) -> bool {
    gid == getegid().as_raw() && *ANY_GROUP != Some(gid)
}

fn any_of(kind: &str) -> Option<u32> {
    if fs::read_to_string(format!("/proc/self/{kind}_map")).is_ok_and(|map| maps_all(&map)) {
        return None;
    }
    let overflow = fs::read_to_string(format!("/proc/sys/kernel/overflow{kind}"));
    Some(overflow.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW))
}

/// Whether the ranges of a map, each a line `INSIDE OUTSIDE COUNT`, are all ids.
fn maps_all(map: &str) -> bool {
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok();
    map.lines().filter_map(count).sum::<u64>() >= ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_of_the_first_namespace_has_all_ids_and_that_of_a_container_has_not() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(maps_all("0 0 1000\n1000 1000 4294966295\n"));
        for map in ["0 100000 65536\n", "0 1000 1\n", "", "nonsense"] {
            assert!(!maps_all(map), "{map}");
        }
    }

    #[test]
    fn an_id_of_this_process_is_its_own_unless_it_may_be_anybodys() {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        assert_eq!(is_own_user(uid), any_of("uid") != Some(uid));
        assert_eq!(is_own_group(gid), any_of("gid") != Some(gid));
        assert!(!is_own_user(uid + 1) && !is_own_group(gid + 1));
    }
}
