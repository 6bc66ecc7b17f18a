//! HTTP/2 by hand (RFC 9113): frames that no client library would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (u32::try_from(payload.len()).expect("a frame").to_be_bytes()[1..]).to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Header fields as literals that no table remembers (RFC 7541 section 6.2.2).
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// With a prefix of 7 bits (RFC 7541 section 5.1).
fn integer(mut value: usize, into: &mut Vec<u8>) {
    if value < 127 {
        into.push(value as u8);
        return;
    }
    into.push(127);
    value -= 127;
    while value >= 128 {
        into.push((value % 128 + 128) as u8);
        value /= 128;
    }
    into.push(value as u8);
}

/// A connection after its preface and its SETTINGS.
pub(crate) struct Http2(TcpStream);

impl Http2 {
    pub(crate) fn to(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let mut connection = Self(stream);
        assert!(
            connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") && connection.send(&frame(SETTINGS, 0, 0, settings))
        );
        connection
    }

    /// Whether the other side took it all.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Sends `piece(n)` for n from 0 until the other side ends the connection, at most `most` times, and takes in what
    /// it says meanwhile. How many were taken, and the last error code that a GOAWAY gave.
    pub(crate) fn flood(mut self, most: u32, mut piece: impl FnMut(u32) -> Vec<u8>) -> (u32, Option<u32>) {
        let mut reader = self.0.try_clone().expect("the same socket");
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut part = [0; 65_536];
            while let Ok(read @ 1..) = reader.read(&mut part) {
                if all.len() < 16 << 20 {
                    all.extend_from_slice(&part[..read]);
                }
            }
            goaway(&all)
        });
        let mut sent = 0;
        while sent < most && self.send(&piece(sent)) {
            sent += 1;
        }
        let _ = self.0.shutdown(std::net::Shutdown::Write);
        (sent, reading.join().expect("no panic"))
    }

    /// How long it takes until the other side ends the connection of a client that reads nothing and says `piece` again
    /// and again.
    pub(crate) fn unread(mut self, piece: &[u8]) -> Duration {
        let begun = Instant::now();
        while self.send(piece) {
            assert!(begun.elapsed() < PATIENCE, "nobody ends this connection");
        }
        begun.elapsed()
    }

    /// Whatever comes until the other side ends the connection, which has to happen.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest);
        assert!(
            !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "nobody ends this connection"
        );
        rest
    }

    /// The next frame of that kind: its stream and its payload.
    pub(crate) fn next(&mut self, kind: u8) -> Option<(u32, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).ok()?;
            if head[3] == kind {
                return Some((u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload));
            }
        }
    }

    /// The payload of the next frame of that kind on that stream.
    pub(crate) fn next_on(&mut self, kind: u8, stream: u32) -> Option<Vec<u8>> {
        loop {
            let (on, payload) = self.next(kind)?;
            if on == stream {
                return Some(payload);
            }
        }
    }
}

/// The error code of the last GOAWAY among these frames.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    let mut code = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        if *kind == GOAWAY {
            code = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes")));
        }
        frames = rest;
    }
    code
}
