//! A client at a port, for the tests of several files.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a person at netcat types and reads.
pub struct Client(pub BufReader<TcpStream>);

impl Client {
    /// A client whose table is frozen, so that only answers come.
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Client(BufReader::new(stream));
        client.types("\n");
        client.up_to("frozen");
        client
    }

    pub fn types(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_string()
    }

    /// The next line that has `part` in it.
    pub fn up_to(&mut self, part: &str) -> String {
        for _ in 0..1000 {
            let line = self.line();
            if line.contains(part) {
                return line;
            }
        }
        panic!("{part:?} did not come");
    }

    /// What is answered to a line: the first line of it.
    pub fn asks(&mut self, line: &str) -> String {
        self.types(&format!("{line}\n"));
        self.line()
    }
}
