//! The same work by this supervisor and by supervisord, in one run.
//!
//! ```text
//! apt-get install supervisor
//! cargo bench -p pm-overseer --bench supervisord
//! ```

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pm_overseer::{Output, Overseer, Program};

/// Children that do nothing.
const CHILDREN: usize = 200;
/// Children that print, and how many lines each does.
const PRINTERS: usize = 4;
const LINES: usize = 2_000_000;

/// What is run: names and scripts, each with a file for its output.
fn programs(work: &str, dir: &Path) -> Vec<(String, String)> {
    let started = dir.join("started");
    match work {
        "sleep" => (0..CHILDREN)
            .map(|n| (format!("n{n}"), format!("echo >> {}; exec sleep 1000", started.display())))
            .collect(),
        _ => (0..PRINTERS)
            .map(|n| (format!("n{n}"), format!("seq -f 'a line of output, number %08.0f' {LINES}; exec sleep 1000")))
            .collect(),
    }
}

/// The supervisor of this package, in a process of its own.
fn supervise(work: &str, dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let overseer = Overseer::new();
    for (name, script) in programs(work, dir) {
        let out = Output::File(dir.join(&name));
        let program = Program::new("sh").args(["-c", &script]).stdout(out.clone()).stderr(out).die_with_parent(true);
        overseer.add(name, program).expect("it is added");
    }
    runtime.block_on(async { overseer.supervise_all().await });
}

fn start(which: &str, work: &str, dir: &Path) -> Child {
    let mut command = match which {
        "supervisord" => {
            let mut config =
                format!("[supervisord]\nnodaemon=true\nlogfile={0}/log\npidfile={0}/pid\nminfds=4096\n", dir.display());
            for (name, script) in programs(work, dir) {
                // A % in a value is doubled there.
                let script = script.replace('%', "%%");
                config.push_str(&format!(
                    "[program:{name}]\ncommand=/bin/sh -c \"{script}\"\nstdout_logfile={0}/{name}\nstdout_logfile_maxbytes=0\nredirect_stderr=true\nstopasgroup=true\nkillasgroup=true\n",
                    dir.display()
                ));
            }
            // In one group, which it stops at once. Programs without a group it stops one after the other, one a second.
            let names: Vec<String> = programs(work, dir).into_iter().map(|(name, _)| name).collect();
            config.push_str(&format!("[group:all]\nprograms={}\n", names.join(",")));
            std::fs::write(dir.join("conf"), config).expect("it is written");
            let mut command = Command::new("supervisord");
            command.arg("-c").arg(dir.join("conf"));
            command
        }
        _ => {
            let mut command = Command::new(std::env::current_exe().expect("a path"));
            command.args(["supervise", work]).arg(dir);
            command
        }
    };
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts: is supervisor installed?")
}

fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !holds() {
        assert!(Instant::now() < deadline, "it takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How many supervisord takes for started.
fn running(log: &Path) -> usize {
    std::fs::read_to_string(log).unwrap_or_default().matches("entered RUNNING state").count()
}

/// KiB in memory, of this process and, of ours, the shell that outlives it.
fn memory(pid: u32) -> u64 {
    let pss = |pid: u32| -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let children = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = children.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_warden = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().ends_with("pm-warden\0")
    };
    pss(pid) + pids.filter(is_warden).map(pss).sum::<u64>()
}

fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    fields
        .get(11..13)
        .map_or(0.0, |ticks| ticks.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn end(mut child: Child) -> Duration {
    let begin = Instant::now();
    assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill").success());
    child.wait().expect("it ends");
    begin.elapsed()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, work, dir] = &args[..]
        && verb == "supervise"
    {
        return supervise(work, Path::new(dir));
    }
    println!(
        "{:12} {:>14} {:>12} {:>14} {:>12} {:>12}",
        "", "200 started", "memory", "200 stopped", "lines", "processor"
    );
    for _ in 0..3 {
        for which in ["overseer", "supervisord"] {
            let dir: PathBuf = std::env::temp_dir().join(format!("overseer-bench-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("a directory");
            let read = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |metadata| metadata.len());

            let begin = Instant::now();
            let child = start(which, "sleep", &dir);
            until(|| read("started") >= CHILDREN as u64);
            let started = begin.elapsed();
            // supervisord has more to do when it takes them for started, a second later.
            until(|| which != "supervisord" || running(&dir.join("log")) == CHILDREN);
            let memory = memory(child.id());
            let stopped = end(child);

            for n in 0..CHILDREN {
                let _ = std::fs::remove_file(dir.join(format!("n{n}")));
            }
            let size = (LINES * "a line of output, number 00000001\n".len()) as u64;
            let begin = Instant::now();
            let child = start(which, "print", &dir);
            until(|| (0..PRINTERS).all(|n| read(&format!("n{n}")) >= size));
            let printed = begin.elapsed();
            let used = cpu(child.id());
            end(child);
            let _ = std::fs::remove_dir_all(&dir);

            let rate = (PRINTERS * LINES) as f64 / printed.as_secs_f64();
            println!(
                "{which:12} {:>12.0}ms {:>9}KiB {:>12.0}ms {:>10.2}M/s {used:>11.2}s",
                started.as_secs_f64() * 1e3,
                memory,
                stopped.as_secs_f64() * 1e3,
                rate / 1e6
            );
        }
    }
}
