//! `top` in a real terminal: nc in tmux, keys sent one by one.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use pm::ProcList;

/// A terminal of its own server, which ends with it.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// A shell in a terminal of 80x24.
    fn open(name: &str) -> Terminal {
        let terminal = Terminal { socket: format!("pm-{name}-{}", std::process::id()) };
        let mut tmux = terminal.tmux();
        let shell = "PS1='$ ' sh";
        assert!(
            tmux.args(["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell])
                .status()
                .unwrap()
                .success()
        );
        terminal.until("a prompt", |screen| screen[0] == "$");
        terminal
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").args(["-L", &self.socket]);
        tmux
    }

    /// Presses the keys of `text`, one at a time.
    fn types(&self, text: &str) {
        for key in text.chars() {
            assert!(self.tmux().args(["send-keys", "-l", &key.to_string()]).status().unwrap().success());
        }
    }

    fn presses(&self, key: &str) {
        assert!(self.tmux().args(["send-keys", key]).status().unwrap().success());
    }

    /// What stands on the screen, blanks at the end of a line taken away.
    fn screen(&self) -> Vec<String> {
        let output = self.tmux().args(["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_end().to_string()).collect()
    }

    /// Where the cursor stands: column and row, from 0.
    fn cursor(&self) -> String {
        let output = self.tmux().args(["display-message", "-p", "#{cursor_x} #{cursor_y}"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// The screen, as soon as it is like this.
    #[track_caller]
    fn until(&self, what: &str, is_there: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.screen();
            if !screen.is_empty() && is_there(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what}:\n{}", screen.join("\n"));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").status();
    }
}

/// `top` in a terminal, drawn every 100 ms from a list of `n` tasks.
fn top(name: &str, list: &ProcList, n: usize) -> (Terminal, Vec<pm::Task>) {
    let terminal = Terminal::open(name);
    list.set_cols(["uri"]);
    let tasks =
        (0..n).map(|n| list.start(format!("req{n}")).col("uri", format!("/users/{n}/{}", "x".repeat(90)))).collect();
    watch(&terminal, list);
    (terminal, tasks)
}

/// Types what leads to `top`.
fn watch(terminal: &Terminal, list: &ProcList) {
    let addr = list.server().delay(Duration::from_millis(100)).spawn(":0").unwrap();
    terminal.types(&format!("nc localhost {}", addr.port()));
    terminal.presses("Enter");
    terminal.until("frames", |screen| screen.iter().any(|line| line.starts_with("req29 ")));
    terminal.types("top");
    terminal.presses("Enter");
    terminal.until("the table in place", |screen| screen[2].starts_with("id ") && screen[3].starts_with("req0 "));
}

#[test]
#[ignore = "needs tmux, and nc (netcat-openbsd)"]
fn what_is_being_typed_stays_whole_while_the_table_is_drawn_over_and_over() {
    let list = ProcList::new();
    let (terminal, tasks) = top("typing", &list, 30);
    let line = "kill req7 houston, we have a problem";
    for key in line.chars() {
        terminal.types(&key.to_string());
        // Between any two keys the table moves on: its times are others.
        let before = terminal.screen()[3].clone();
        let screen = terminal.until("the next frame", |screen| screen[3] != before);
        assert!(line.starts_with(&screen[0]), "{}", screen.join("\n"));
        assert!(screen[2].starts_with("id ") && screen[22].starts_with("req19 "), "{}", screen.join("\n"));
        assert_eq!(screen[23], "... 10 more (limit 20)");
    }
    let screen = terminal.until("the whole line", |screen| screen[0] == line);
    assert_eq!(terminal.cursor(), format!("{} 0", line.len()));
    assert!(screen.iter().all(|line| line.chars().count() <= 80));
    assert!(screen[3].ends_with("xx…"), "cut by us: {}", screen[3]);

    terminal.presses("Enter");
    let screen = terminal.until("the reply", |screen| screen[1].starts_with("killing req7 in"));
    assert_eq!(screen[0], "", "the line has been read");
    assert_eq!(terminal.cursor(), "0 0");
    assert_eq!(tasks[7].check().unwrap_err().message(), "houston, we have a problem");
    terminal.until("the kill under way", |screen| {
        screen.iter().any(|line| line.starts_with("req7 ") && line.contains("(killing "))
    });
    // What is corrected before Enter is corrected.
    terminal.types("list x");
    terminal.presses("BSpace");
    terminal.presses("BSpace");
    terminal.until("the corrected line", |screen| screen[0] == "list");
    terminal.presses("Enter");
    terminal.until("no reply", |screen| screen[0].is_empty() && screen[1].is_empty());
}

#[test]
#[ignore = "needs tmux, and nc (netcat-openbsd)"]
fn after_a_control_c_the_terminal_is_as_it_was() {
    let list = ProcList::new();
    let (terminal, _tasks) = top("leaving", &list, 30);
    for _ in 0..5 {
        terminal.presses("C-c");
        terminal.until("a prompt", |screen| screen.iter().any(|line| line.ends_with('$') && !line.starts_with("id ")));
        terminal.types("clear");
        terminal.presses("Enter");
        terminal.until("an empty screen", |screen| screen[0] == "$" && screen[1..].iter().all(String::is_empty));
        // Wrapping, scrolling, the cursor and the main screen are there.
        let modes =
            "#{wrap_flag} #{cursor_flag} #{alternate_on} #{scroll_region_upper} #{scroll_region_lower} #{origin_flag}";
        let output = terminal.tmux().args(["display-message", "-p", modes]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "1 1 0 0 23 0");
        // And again, so that it comes at another point of a frame.
        terminal.presses("Up");
        terminal.presses("C-u");
        watch(&terminal, &list);
    }
}
