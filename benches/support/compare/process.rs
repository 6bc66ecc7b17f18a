//! Owns a contender that runs: its processes, where it listens, what memory it has, its end. It finds the port by itself,
//! for each contender says it in words of its own or not at all.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::super::Done;

/// A command and all that it has started; ended with this value, as kill -9 ends it.
pub struct Running(Child);

impl Running {
    /// Starts it; what it says goes to `log`.
    pub fn start(mut command: Command, log: &Path) -> Done<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        // In our own group: who ends the whole of it, as `timeout` and the terminal do, leaves nothing behind.
        Ok(Self(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> Done<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Its first process, and those that this one and they have started.
    fn processes(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let id: u32 = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                // Behind the name, which may hold anything: the state, then the parent.
                Some((id, stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?))
            })
            .collect();
        let mut found = vec![self.0.id()];
        let mut next = 0;
        while let Some(&one) = found.get(next) {
            found.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(id, _)| *id));
            next += 1;
        }
        found
    }

    /// Where it listens, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        // Local address, state 0A for listening, and the tenth field is the socket's inode.
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let listening: Vec<(String, u16)> = table
            .lines()
            .filter_map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                let port = u16::from_str_radix(fields.get(1)?.strip_prefix("0100007F:")?, 16).ok()?;
                (*fields.get(3)? == "0A").then(|| Some((format!("socket:[{}]", fields.get(9)?), port)))?
            })
            .collect();
        let open: HashSet<String> = self
            .processes()
            .into_iter()
            .filter_map(|id| fs::read_dir(format!("/proc/{id}/fd")).ok())
            .flatten()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned))
            .collect();
        let port = listening.into_iter().find(|(socket, _)| open.contains(socket))?.1;
        Some((Ipv4Addr::LOCALHOST, port).into())
    }

    /// The memory of all of its processes, in MiB: what they share is counted once (`Pss`).
    pub fn memory(&self) -> Done<f64> {
        let mut kib = 0;
        for id in self.processes() {
            let Ok(rollup) = fs::read_to_string(format!("/proc/{id}/smaps_rollup")) else { continue };
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
            kib += line.trim().trim_end_matches(" kB").parse::<u64>()?;
        }
        Ok(kib as f64 / 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for id in self.processes() {
            if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
        let _ = self.0.wait();
    }
}
