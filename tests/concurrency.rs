//! Many threads on the same ids: what is counted must add up.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pm::{KillError, Outcome, ProcList};

const WORKERS: usize = 4;
const TASKS: usize = 3000;

/// Starts tasks under a few ids that all fight for, and ends each in one of
/// five ways. Returns how many of them ended with a kill upon them.
fn work(list: &ProcList, worker: usize) -> usize {
    let mut kills = 0;
    for n in 0..TASKS {
        let task = list.start(format!("id{}", n % 7)).col("worker", worker);
        let handle = task.handle();
        let end = match n % 5 {
            0 => {
                task.set_status("brief");
                Some(task.done())
            }
            1 => {
                let died = pm::catch(|| (0..50).for_each(|_| task.status("unwinding")()));
                Some(task.done()).inspect(|end| assert!(died.is_ok() || end.outcome == Some(Outcome::Killed)))
            }
            2 => {
                let died = (0..50).try_for_each(|_| task.try_status("returning"));
                Some(task.done()).inspect(|end| assert!(died.is_ok() || end.outcome == Some(Outcome::Killed)))
            }
            3 => {
                thread::yield_now();
                let id = task.detach();
                list.done(&id)
            }
            _ => {
                thread::yield_now();
                list.done(task.id())
            }
        };
        let end = end.expect("nobody else ends it");
        assert_eq!(handle.check().is_err(), end.killing.is_some(), "a kill is told for ever, and only a kill");
        assert_eq!(end.id, handle.id());
        kills += usize::from(end.killing.is_some());
    }
    kills
}

/// Tells the helpers to stop, also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_accepted_kill_meets_one_end_and_the_list_is_empty() {
    let list = ProcList::new();
    list.set_cols(["worker"]);
    let stop = AtomicBool::new(false);
    let accepted = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|n| {
                scope.spawn({
                    let list = &list;
                    move || work(list, n)
                })
            })
            .collect();
        // A worker that fails must not leave the helpers at it for ever.
        let stops = StopOnDrop(&stop);
        let helpers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for n in 0..7 {
                            match list.kill(&format!("id{n}"), "go") {
                                Ok(()) => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                                Err(KillError::NoSuchProcess { .. } | KillError::AlreadyKilled { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        assert!(list.contents().starts_with("id "));
                        let procs = list.procs();
                        assert!(procs.iter().all(|proc| proc.id.starts_with("id") && proc.outcome.is_none()));
                    }
                })
            })
            .collect();
        let seen: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        drop(stops);
        helpers.into_iter().for_each(|helper| helper.join().unwrap());
        let accepted = accepted.load(Ordering::Relaxed);
        assert_eq!(seen, accepted);
        assert!(accepted > 0);
    });
    assert!(list.is_empty());
}

/// The lines that `client` was answered, to the end.
fn answers(stream: TcpStream) -> Vec<String> {
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    BufReader::new(stream).lines().map(Result::unwrap).collect()
}

#[test]
fn every_kill_of_every_client_has_one_outcome() {
    const CLIENTS: usize = 8;
    const VICTIMS: usize = 100;
    let list = ProcList::new();
    let addr = list.spawn(":0").unwrap();
    let all_connected = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        // Noise under other ids, and tasks that end as soon as they see a kill.
        let noise = scope.spawn(|| work(&list, 0));
        let victims: Vec<_> = (0..CLIENTS * VICTIMS).map(|n| list.start(format!("victim{n}"))).collect();
        let dying = scope.spawn(move || {
            let mut victims = victims;
            let deadline = Instant::now() + Duration::from_secs(60);
            while !victims.is_empty() {
                assert!(Instant::now() < deadline, "{} kills did not arrive", victims.len());
                victims.retain(|victim| victim.check().is_ok());
                thread::yield_now();
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let all_connected = &all_connected;
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    all_connected.wait();
                    for n in 0..VICTIMS {
                        // Each has victims of its own, and one that all of them fight for.
                        writeln!(stream, "kill victim{} by a client", client * VICTIMS + n).unwrap();
                        writeln!(stream, "kill victim0").unwrap();
                    }
                    answers(stream)
                })
            })
            .collect();
        for (client, lines) in clients.into_iter().enumerate() {
            let lines = lines.join().unwrap();
            for n in 0..VICTIMS {
                let id = format!("victim{}", client * VICTIMS + n);
                let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
                let asked = count(&format!("killing {id} in ")) + count(&format!("already killing {id}"));
                let told = count(&format!("killed {id} after ")) + count(&format!("{id} ended by itself"));
                if id == "victim0" {
                    assert!(told == usize::from(asked > 0), "{id}: {asked} {told}: {lines:#?}");
                } else {
                    assert_eq!((asked, told), (1, 1), "{id}: {lines:#?}");
                }
            }
        }
        dying.join().unwrap();
        noise.join().unwrap();
    });
    assert!(list.is_empty());
}
