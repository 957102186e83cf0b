//! User: what a user of this machine may do without a token.

use nix::unistd::{Uid, User};

use crate::access::Role;

/// The user as whom this program acts.
pub(crate) fn own() -> u32 {
    Uid::effective().as_raw()
}

/// The name of a user, if it has one. May take long, where names are kept elsewhere.
pub(crate) fn name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// What a user may do: root and the program's `own` all, others what their
/// name or number was given.
pub(crate) fn role(uid: u32, name: Option<&str>, own: u32, see_users: &[String], kill_users: &[String]) -> Role {
    let number = uid.to_string();
    let is_named = |users: &[String]| users.iter().any(|user| *user == number || Some(user.as_str()) == name);
    match () {
        () if uid == 0 || uid == own || is_named(kill_users) => Role::Kill,
        () if is_named(see_users) => Role::See,
        () => Role::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_user_and_root_may_kill_and_others_what_they_were_given() {
        let (see, kill) = (["amy".to_string(), "1003".to_string()], ["bob".to_string()]);
        let may = |uid, name| role(uid, name, 1000, &see, &kill);
        assert_eq!((may(0, Some("root")), may(1000, Some("app"))), (Role::Kill, Role::Kill));
        assert_eq!(
            (may(1001, Some("amy")), may(1003, None), may(1002, Some("bob"))),
            (Role::See, Role::See, Role::Kill)
        );
        assert_eq!(
            (may(1004, Some("eve")), may(1004, None), may(1004, Some("1003x"))),
            (Role::Nothing, Role::Nothing, Role::Nothing)
        );
    }

    #[test]
    fn root_has_a_name_and_nobody_knows_this_one() {
        assert_eq!(name(0).as_deref(), Some("root"));
        assert_eq!(name(u32::MAX - 7), None);
    }
}
