//! Who may do what: users, Unix sockets, tokens, over real connections.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pm::ProcList;

/// The user `nobody`, and a number that is nobody's name.
const NOBODY: u32 = 65534;
const NAMELESS: u32 = 54321;

/// What `nc`, run as the user `uid`, prints when `input` is typed.
fn nc_as(uid: u32, args: &[&str], input: &str) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--clear-groups", "nc", "-N", "-w", "20"]).args(args);
    let mut nc = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    nc.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = nc.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn tcp_as(uid: u32, addr: SocketAddr, input: &str) -> String {
    nc_as(uid, &[&addr.ip().to_string(), &addr.port().to_string()], input)
}

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("pm-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
#[ignore = "needs root, setpriv, and nc (netcat-openbsd)"]
fn another_user_of_the_machine_is_told_why_and_turned_away() {
    let list = ProcList::new();
    let task = list.start("req1");
    let addr = list.spawn(":0").unwrap();
    let text = tcp_as(NAMELESS, addr, "kill req1 mine\n");
    assert_eq!(
        text,
        "forbidden: uid 54321 may not see this processlist; the program's own user and root may, and users that the program names\n"
    );
    task.check().expect("nobody killed it");
    let text = tcp_as(NOBODY, addr, "kill req1 mine\n");
    assert!(text.starts_with("forbidden: nobody (uid 65534) may not see"), "{text}");
    let text = tcp_as(0, addr, "kill req1 too slow\n");
    assert!(text.contains(r#"killing req1 in "init""#), "{text}");
}

#[test]
#[ignore = "needs root, setpriv, and nc (netcat-openbsd)"]
fn another_user_is_turned_away_whatever_address_it_comes_from() {
    let list = ProcList::new();
    let task = list.start("req1");
    let addr = list.spawn(":0").unwrap();
    // An address of this machine that is not a loopback one, if it has any.
    let addrs = Command::new("hostname").arg("-I").output().unwrap();
    let addrs = String::from_utf8(addrs.stdout).unwrap();
    for own in addrs.split_whitespace().filter(|own| own.contains('.')).chain(["127.0.0.9"]) {
        let args = ["-s", own, "127.0.0.1", &addr.port().to_string()];
        let text = nc_as(NAMELESS, &args, "kill req1 mine\n");
        assert!(text.starts_with("forbidden: uid 54321 may not see this processlist"), "{own}: {text}");
        assert!(nc_as(0, &args, "stats\n").contains("running "), "{own}");
    }
    task.check().expect("nobody killed it");
}

#[test]
#[ignore = "needs root, setpriv, and nc (netcat-openbsd)"]
fn a_named_user_may_do_what_it_was_given_and_the_audit_knows_it() {
    let list = ProcList::new();
    list.set_cols(["token"]);
    let task = list.start("req1").secret_col("token", "8e2b");
    let addr = list.server().see_users(["54321"]).kill_users(["nobody"]).spawn(":0").unwrap();
    let text = tcp_as(NAMELESS, addr, "kill req1 mine\nwhere token=8e2b\njson\nshow req1\nstats\n");
    assert!(text.contains("forbidden: you may see, not kill\n"), "{text}");
    assert!(text.contains("  ***\n") && !text.contains("8e2b\n") && !text.contains("\"8e2b\""), "{text}");
    assert!(text.contains("invalid expression at 'token'") && text.contains("running "), "{text}");
    task.check().expect("nobody killed it");
    let text = tcp_as(NOBODY, addr, "kill req1 too slow\naudit\n");
    assert!(text.contains("  8e2b\n") && text.contains(r#"killing req1 in "init""#), "{text}");
    let record = text.lines().find(|line| line.contains("being killed for")).unwrap();
    assert!(
        record.contains("Z nobody (uid 65534) at 127.0.0.1:") && record.contains(r#": req1 "too slow": "#),
        "{text}"
    );
    task.check().unwrap_err();
}

#[test]
#[ignore = "needs root, setpriv, and nc (netcat-openbsd)"]
fn read_only_holds_for_root_too() {
    let list = ProcList::new();
    let task = list.start("req1");
    let addr = list.server().read_only().spawn(":0").unwrap();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"kill req1 x\nquit\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("forbidden: this processlist is read-only\n"), "{text}");
    task.check().expect("nobody killed it");
}

#[test]
#[ignore = "needs root, setpriv, and nc (netcat-openbsd)"]
fn a_token_is_wanted_from_everybody_and_opens_other_addresses() {
    let list = ProcList::new();
    let _task = list.start("req1");
    assert!(list.spawn("0.0.0.0:0").is_err());
    let addr = list.server().kill_token("strike").spawn("0.0.0.0:0").unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", addr.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "this processlist wants a token: auth <token>");
    stream.write_all(b"kill req1\nauth strike\n").unwrap();
    assert_eq!(lines.next().unwrap(), "this processlist wants a token: auth <token>");
    assert_eq!(lines.next().unwrap(), "you may see and kill");
    assert!(lines.any(|line| line.starts_with("req1 ")));
    for bad in ["", "two\nlines"] {
        let error = list.server().see_token(bad).spawn(":0").unwrap_err();
        assert!(error.to_string().starts_with("a token is one line"), "{error}");
    }
}

#[test]
#[ignore = "needs root, setpriv, and nc (netcat-openbsd)"]
fn a_unix_socket_is_its_owners_and_knows_its_users() {
    let folder = Folder::new("unix-users");
    let path = folder.0.join("pm.sock");
    let list = ProcList::new();
    let task = list.start("req1");
    list.server().see_users(["nobody"]).spawn_unix(&path).unwrap();
    let file = fs::metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let at = path.to_str().unwrap();
    let text = nc_as(NOBODY, &["-U", at], "kill req1\n");
    assert!(text.to_lowercase().contains("permission denied"), "{text}");
    // Who opens the door further still decides by who comes in.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let text = nc_as(NOBODY, &["-U", at], "kill req1\n");
    assert!(text.contains("req1 ") && text.contains("forbidden: you may see, not kill"), "{text}");
    let text = nc_as(NAMELESS, &["-U", at], "kill req1\n");
    assert!(text.starts_with("forbidden: uid 54321 may not see this processlist"), "{text}");
    task.check().expect("nobody killed it");
    let text = nc_as(0, &["-U", at], "kill req1 x\naudit\n");
    assert!(
        text.contains(r#"killing req1 in "init""#) && text.contains("Z root (uid 0) at the socket: req1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stale_socket_is_replaced_a_live_one_is_not_and_its_own_is_removed() {
    let folder = Folder::new("unix-stale");
    let path = folder.0.join("pm.sock");
    let list = ProcList::new();
    drop(UnixListener::bind(&path).unwrap()); // leaves its file behind
    let bound = list.server().bind_unix(&path).await.unwrap();
    let error = list.server().bind_unix(&path).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().ends_with("a server is listening there"), "{error}");
    assert!(UnixStream::connect(&path).is_ok(), "the live one is left alone");

    drop(bound.serve());
    assert!(!path.exists());
    fs::write(&path, "a file").unwrap();
    let error = list.server().bind_unix(&path).await.unwrap_err();
    assert_eq!((error.kind(), fs::read_to_string(&path).unwrap().as_str()), (io::ErrorKind::AlreadyExists, "a file"));
    fs::remove_file(&path).unwrap();

    // Somebody else has taken the name: what is theirs is not removed.
    let bound = list.server().bind_unix(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
}
