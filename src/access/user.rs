//! User: what a user of this machine may do without a token.

use std::collections::VecDeque;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Uid, User};
use tokio::time::{self, Instant};

use crate::access::Role;
use crate::own_thread::on_own_thread;

/// How long a name is known, and how many: users that connect in a loop are looked up once.
const KNOWN: Duration = Duration::from_secs(10);
const NAMES: usize = 64;

/// How long is waited for a name that nothing depends on.
const SOON: Duration = Duration::from_millis(200);

/// How long to wait for descriptors or memory to come back.
const SCARCE: Duration = Duration::from_secs(1);

/// The user as whom this program acts.
pub(crate) fn own() -> u32 {
    Uid::effective().as_raw()
}

/// The number that stands for all users that have none in the user namespace of this program,
/// if it is in one that does not know all (user_namespaces(7)).
pub(crate) fn overflow() -> Option<u32> {
    let knows_all = std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_whole(&map));
    let overflow = || std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok();
    (cfg!(target_os = "linux") && !knows_all).then(|| overflow().unwrap_or(65534))
}

/// Whether a map gives a number to every user.
fn is_whole(map: &str) -> bool {
    let counts = map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() >= u64::from(u32::MAX)
}

/// What a user may do: root and the program's `own` user may kill, others have what their name or
/// number was given.
pub(crate) fn role(
    uid: u32,
    own: u32,
    see_users: &[String],
    kill_users: &[String],
    name: Option<&str>,
) -> Option<Role> {
    let number = uid.to_string();
    let is_named = |users: &[String]| users.iter().any(|user| *user == number || Some(user.as_str()) == name);
    match () {
        () if uid == 0 || uid == own || is_named(kill_users) => Some(Role::Kill),
        () if is_named(see_users) => Some(Role::See),
        () => None,
    }
}

/// The names of users, looked up one at a time: they may be kept in a directory far away.
#[derive(Debug, Default)]
pub(crate) struct Names(tokio::sync::Mutex<VecDeque<(u32, Option<String>, Instant)>>);

impl Names {
    /// The name of a user, if it has one and it is found without much ado.
    pub(crate) async fn get_soon(&self, uid: u32) -> Option<String> {
        time::timeout(SOON, self.get(uid)).await.ok().flatten()
    }

    /// The name of a user, if it has one. Want of descriptors is waited out.
    pub(crate) async fn get(&self, uid: u32) -> Option<String> {
        let mut names = self.0.lock().await;
        names.retain(|(_, _, at)| at.elapsed() < KNOWN);
        if let Some((_, name, _)) = names.iter().find(|(known, ..)| *known == uid) {
            return name.clone();
        }
        let name = loop {
            match on_own_thread(move || User::from_uid(Uid::from_raw(uid))).await {
                Some(Ok(user)) => break user.map(|user| user.name),
                Some(Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => time::sleep(SCARCE).await,
                _ => return None,
            }
        };
        if names.len() == NAMES {
            names.pop_front();
        }
        names.push_back((uid, name.clone(), Instant::now()));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_user_and_root_may_kill_and_others_what_they_were_given() {
        let (see, kill) = (["amy".to_string(), "1003".to_string()], ["bob".to_string()]);
        let may = |uid, name| role(uid, 1000, &see, &kill, name);
        assert_eq!((may(0, Some("root")), may(1000, Some("app"))), (Some(Role::Kill), Some(Role::Kill)));
        assert_eq!(
            (may(1001, Some("amy")), may(1003, None), may(1002, Some("bob"))),
            (Some(Role::See), Some(Role::See), Some(Role::Kill))
        );
        assert_eq!((may(1004, Some("eve")), may(1004, None), may(1004, Some("1003x"))), (None, None, None));
    }

    #[tokio::test]
    async fn root_has_a_name_and_nobody_knows_this_one() {
        let names = Names::default();
        for _ in 0..2 {
            assert_eq!(names.get_soon(0).await.as_deref(), Some("root"));
            assert_eq!(names.get(u32::MAX - 7).await, None);
        }
        assert_eq!(names.0.lock().await.len(), 2);
    }

    #[test]
    fn a_namespace_that_does_not_know_all_users_is_known_by_its_map() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n"));
        assert!(!is_whole("0 100000 65536\n") && !is_whole(""));
        assert!(is_whole("0 0 1000\n1000 1000 4294966295\n"));
    }
}
