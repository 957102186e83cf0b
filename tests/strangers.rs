//! Strangers: users that are not who they seem, and programs that run where little is to be had.
//!
//! The programs are this test itself, run again in another place: see [`serve_if_inside`].
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use pm::ProcList;

/// Set where this test is the program: the folder for its Unix socket.
const INSIDE: &str = "PM_TEST_INSIDE";

/// A program with a task `req1` that serves on a port and a Unix socket, run by `command`, which
/// ends with the words `PROGRAM TEST`.
struct Program {
    child: Child,
    /// Open as long as it runs, because it goes on writing.
    _stdout: ChildStdout,
    folder: PathBuf,
    port: u16,
}

impl Program {
    fn run(test: &str, command: &[&str]) -> Program {
        let folder = std::env::temp_dir().join(format!("pm-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        // Where another user may read it.
        let program = folder.join("program");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .args([program.to_str().unwrap(), "--exact", test, "--nocapture", "--include-ignored"])
            .env(INSIDE, &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = stdout.by_ref().lines().map(Result::unwrap);
        let port = { lines }.find_map(|line| line.strip_prefix("port ")?.parse().ok()).expect("it serves");
        Program { child, _stdout: stdout.into_inner(), folder, port }
    }

    /// What the user reads who connects to the port with this input.
    fn answers(&self, uid: u32, input: &str) -> String {
        nc(uid, &["127.0.0.1", &self.port.to_string()], input)
    }

    /// The same at the Unix socket.
    fn answers_at_socket(&self, uid: u32, input: &str) -> String {
        nc(uid, &["-U", self.folder.join("pm.sock").to_str().unwrap()], input)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn nc(uid: u32, args: &[&str], input: &str) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--clear-groups", "nc", "-N", "-w", "20"]).args(args);
    let mut nc = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = nc.stdin.take().unwrap().write_all(input.as_bytes());
    let output = nc.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Is the program, until its input ends, where this test has been run again as that. `prepare`
/// comes last before it says where it serves.
fn serve_if_inside<T>(prepare: impl FnOnce() -> T) -> bool {
    let Some(folder) = std::env::var_os(INSIDE) else { return false };
    let list = ProcList::new();
    let task = list.start("req1");
    thread::spawn(move || {
        while task.check().is_ok() {
            thread::park_timeout(Duration::from_millis(5));
        }
    });
    let path = PathBuf::from(folder).join("pm.sock");
    list.server().spawn_unix(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let addr = list.spawn(":0").unwrap();
    let _prepared = prepare();
    println!("\nport {}", addr.port());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    true
}

const KILL: &str = "kill req1 mine\n";

#[test]
#[ignore = "needs root, setpriv, unshare, and nc (netcat-openbsd)"]
fn a_user_without_a_number_is_not_the_program_itself() {
    if serve_if_inside(|| ()) {
        return;
    }
    // It runs as `nobody` in its user namespace, as which all who are unknown there appear.
    let command = ["setpriv", "--reuid", "1234", "--clear-groups", "unshare", "-U", "--map-user=65534"];
    let program = Program::run("a_user_without_a_number_is_not_the_program_itself", &command);
    for uid in [4321, 65534, 0] {
        for text in [program.answers(uid, KILL), program.answers_at_socket(uid, KILL)] {
            assert!(text.starts_with("forbidden: your user has no number in this program's user namespace"), "{text}");
            assert!(text.ends_with("may set a token, or connect from inside the namespace (nsenter -U)\n"), "{text}");
        }
    }
}

#[test]
#[ignore = "needs root, setpriv, unshare, and nc (netcat-openbsd)"]
fn in_a_user_namespace_its_own_user_is_let_in_and_the_hosts_root_is_told_why_not() {
    if serve_if_inside(|| ()) {
        return;
    }
    let name = "in_a_user_namespace_its_own_user_is_let_in_and_the_hosts_root_is_told_why_not";
    let command = ["setpriv", "--reuid", "1234", "--clear-groups", "unshare", "-U", "-r"];
    let program = Program::run(name, &command);
    assert!(program.answers(0, KILL).starts_with("forbidden: your user has no number"));
    assert!(program.answers(4321, KILL).starts_with("forbidden: your user has no number"));
    let text = program.answers(1234, KILL);
    assert!(text.contains(r#"killing req1 in "init""#), "{text}");
}

#[test]
#[ignore = "needs root, setpriv, unshare, and nc (netcat-openbsd)"]
fn without_proc_users_are_told_apart_all_the_same() {
    if serve_if_inside(|| ()) {
        return;
    }
    let command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\""];
    let program = Program::run("without_proc_users_are_told_apart_all_the_same", &command);
    assert!(program.answers(4321, KILL).starts_with("forbidden: uid 4321 may not see"));
    // Whether all users have numbers here cannot be known.
    assert!(program.answers(65534, KILL).starts_with("forbidden: your user has no number"));
    let text = program.answers(0, KILL);
    assert!(text.contains(r#"killing req1 in "init""#), "{text}");
}

#[test]
#[ignore = "needs root, setpriv, unshare, and nc (netcat-openbsd)"]
fn one_descriptor_is_enough_for_the_operator() {
    /// Leaves so many descriptors as a client takes.
    fn leave_one() -> Vec<File> {
        let mut files: Vec<File> = (0..).map_while(|_| File::open("/dev/null").ok()).collect();
        files.pop();
        files
    }
    if serve_if_inside(leave_one) {
        return;
    }
    let command = ["sh", "-c", "ulimit -n 64 && exec \"$0\" \"$@\""];
    let program = Program::run("one_descriptor_is_enough_for_the_operator", &command);
    let text = program.answers(0, KILL);
    assert!(text.starts_with("id ") && text.contains(r#"killing req1 in "init""#), "{text}");
    let text = program.answers_at_socket(0, KILL);
    assert!(text.ends_with("no such process 'req1'\n"), "{text}");
}

#[test]
#[ignore = "needs root, setpriv, unshare, and nc (netcat-openbsd)"]
fn who_connects_in_a_loop_does_not_multiply_threads_nor_keep_root_out() {
    const LOOP: &str = "PM_TEST_LOOP";
    if let Some(addr) = std::env::var_os(LOOP) {
        (0..400).for_each(|_| drop(TcpStream::connect(addr.to_str().unwrap())));
        return;
    }
    let folder = std::env::temp_dir().join(format!("pm-loop-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let list = ProcList::new();
    let _task = list.start("req1");
    let addr = list.spawn(":0").unwrap();
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let name = "who_connects_in_a_loop_does_not_multiply_threads_nor_keep_root_out";
    let mut anonymous = Command::new("setpriv")
        .args(["--reuid", "4321", "--clear-groups", program.to_str().unwrap(), "--exact", name, "--include-ignored"])
        .env(LOOP, addr.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = before;
    let mut answered = 0;
    while anonymous.try_wait().unwrap().is_none() {
        most = most.max(threads());
        let text = nc(0, &["127.0.0.1", &addr.port().to_string()], "help\n");
        assert!(text.starts_with("id ") && text.contains("kill <id>"), "{text}");
        answered += 1;
    }
    assert!(answered > 0);
    // Other tests of this file run beside it, each with a thread or two of its own.
    assert!(most < before + 12, "{before} threads became {most}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn of_many_that_find_the_same_stale_socket_one_listens() {
    let folder = std::env::temp_dir().join(format!("pm-race-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("pm.sock");
    for round in 0..300 {
        let _ = fs::remove_file(&path);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let barrier = Arc::new(Barrier::new(4));
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let (barrier, path) = (Arc::clone(&barrier), path.clone());
                thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        barrier.wait();
                        let bound = ProcList::new().server().bind_unix(&path).await;
                        barrier.wait(); // until all have tried
                        bound.map(drop)
                    })
                })
            })
            .collect();
        let ends: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 1, "round {round}: {ends:?}");
    }
    fs::remove_dir_all(folder).unwrap();
}
