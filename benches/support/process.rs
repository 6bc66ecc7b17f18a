//! Owns the processes of this same program that a bench starts: servers, and what is to be measured from outside.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Done;

/// A server in a process of its own, ended with this value.
pub struct Server {
    process: Child,
    pub addr: SocketAddr,
}

impl Server {
    /// Starts it and returns when it listens.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Done<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().ok_or("no pipe")?).read_line(&mut line)?;
        let addr = line.trim().strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix("/mcp"));
        Ok(Self { addr: addr.ok_or_else(|| format!("it said {line:?}"))?.parse()?, process })
    }

    /// Resident memory, in KiB.
    pub fn resident(&self) -> Done<u64> {
        resident(&self.process.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What this same program prints for `arguments`.
pub fn said(arguments: &[&str]) -> Done<String> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A token of `tenant` for the server on `data`.
pub fn token(data: &str, tenant: &str) -> Done<String> {
    said(&["token", "issue", "--tenant", tenant, "--data-dir", data])
}

/// Resident memory of the process `id` (or `self`), in KiB, as Linux counts it.
pub fn resident(id: &str) -> Done<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(id).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
