//! Warden: a small `sh` that outlives this process, and kills what it was told of.
//!
//! It reads `+ group` and `- group` from a pipe. When this process is gone, by whatever end, the pipe ends. A signal at
//! the death of the parent (PR_SET_PDEATHSIG) would reach the leaders only, and comes when the thread ends that started
//! them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::exec;

const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
set=' '
while read -r what group; do
    case $what in
    +) set="$set$group " ;;
    -) case "$set" in *" $group "*) set="${set%% "$group" *} ${set#* "$group" }" ;; esac ;;
    esac
done
for group in $set; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

#[derive(Default)]
pub(crate) struct Warden {
    shell: Option<Child>,
    groups: BTreeSet<u32>,
}

impl Warden {
    /// Makes sure that it is there.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if let Some(shell) = &mut self.shell
            && shell.try_wait()?.is_none()
        {
            return Ok(());
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "pm-warden"]).current_dir("/").process_group(0).env_clear();
        exec::keep_clean(&mut command)?;
        self.shell = Some(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        for group in self.groups.clone() {
            self.tell('+', group)?;
        }
        Ok(())
    }

    /// Replaces it, if somebody has killed it while it has something to do.
    pub(crate) fn look_after(&mut self) {
        if !self.groups.is_empty() {
            let _ = self.prepare();
        }
    }

    /// Kill this group when we are gone.
    pub(crate) fn add(&mut self, group: u32) {
        self.groups.insert(group);
        if self.tell('+', group).is_err() {
            let _ = self.prepare();
        }
    }

    /// It has ended. To be called before its leader is reaped.
    pub(crate) fn remove(&mut self, group: u32) {
        if self.groups.remove(&group) && self.tell('-', group).is_err() {
            let _ = self.prepare();
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.shell.as_ref().map(Child::id)
    }

    fn tell(&mut self, what: char, group: u32) -> io::Result<()> {
        let pipe = self.shell.as_mut().and_then(|shell| shell.stdin.as_mut());
        pipe.map_or(Ok(()), |pipe| pipe.write_all(format!("{what} {group}\n").as_bytes()))
    }
}
