//! Clients in a process of their own: they read as fast as it comes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const CLIENTS: &str = "PM_BENCH_CLIENTS";

/// If this process was started as the clients, they run here, and true is returned at their end.
pub fn are_we() -> bool {
    let Ok(clients) = std::env::var(CLIENTS) else { return false };
    let mut words = clients.splitn(3, ' ');
    let mut word = || words.next().unwrap();
    watch(word().parse().unwrap(), word().parse().unwrap(), word().to_string());
    true
}

pub struct Watchers(Child);

impl Watchers {
    /// Starts this program again as so many clients, which say `first` when they have connected, and waits until all
    /// have an answer.
    pub fn start(addr: SocketAddr, count: usize, first: &str) -> Watchers {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(CLIENTS, format!("{addr} {count} {first}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Watchers(child)
    }

    /// The end of their input ends them. Returns how many bytes they have read.
    pub fn stop(mut self) -> u64 {
        drop(self.0.stdin.take());
        let mut read = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut read).unwrap();
        self.0.wait().unwrap();
        read.trim().parse().unwrap()
    }
}

/// The clients: say one byte when all have read something, and at the end of the input how much it was.
fn watch(addr: SocketAddr, count: u64, first: String) {
    static READING: AtomicU64 = AtomicU64::new(0);
    static BYTES: AtomicU64 = AtomicU64::new(0);
    for _ in 0..count {
        let first = first.clone();
        thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(first.as_bytes()).unwrap();
            let mut buffer = vec![0; 1 << 16];
            let mut is_first = true;
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                BYTES.fetch_add(read as u64, Ordering::Relaxed);
                if std::mem::take(&mut is_first) && READING.fetch_add(1, Ordering::Relaxed) + 1 == count {
                    println!();
                }
            }
        });
    }
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("{}", BYTES.load(Ordering::Relaxed));
}
