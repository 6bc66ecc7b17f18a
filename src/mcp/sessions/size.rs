//! How long a message is as JSON, without writing it.

use std::io::{self, Write};

use serde::Serialize;

struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn json_bytes(message: &impl Serialize) -> usize {
    let mut count = Count(0);
    // What can't be written as JSON is refused where it is sent.
    let _ = serde_json::to_writer(&mut count, message);
    count.0
}
