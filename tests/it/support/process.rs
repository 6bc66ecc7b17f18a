//! The real program: started on a port of the system's choice, ended by its own id, its words kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};

use super::PATIENCE;
use super::wire::MODERN;

/// The program with its settings from nowhere but its arguments.
pub(crate) fn freehold(data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FREEHOLD_") {
            command.env_remove(name);
        }
    }
    command.args(args).arg("--data-dir").arg(data_dir).stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself; what it does not do in time is a failure.
pub(crate) fn run(data_dir: &Path, args: &[&str]) -> Output {
    output(freehold(data_dir, args))
}

/// As [`run`], for a command that succeeds: its standard output.
pub(crate) fn must(data_dir: &Path, args: &[&str]) -> String {
    let done = run(data_dir, args);
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

/// Runs `command` to its end, which has to come.
pub(crate) fn output(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = wait(&mut child);
    let taken = |from: Receiver<Vec<u8>>| from.recv_timeout(PATIENCE).expect("an end of output");
    Output { status, stdout: taken(out), stderr: taken(err) }
}

fn drain(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (done, taken) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.expect("a pipe").read_to_end(&mut bytes);
        let _ = done.send(bytes);
    });
    taken
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("process {} does not end", child.id());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A serving process. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// Lines of standard output, up to and after the one that tells the address.
    lines: Receiver<String>,
    log: PathBuf,
}

impl Server {
    /// Starts `freehold serve` on `data_dir` with these arguments more, and waits until it listens.
    pub(crate) fn start(data_dir: &Path, args: &[&str]) -> Self {
        Self::start_with(data_dir, args, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(data_dir: &Path, args: &[&str], environment: &[(&str, &OsStr)]) -> Self {
        let log = data_dir.with_extension("log");
        let (mut child, lines) = spawn(data_dir, args, environment, &log);
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("it does not listen: {}", std::fs::read_to_string(&log).unwrap_or_default())
        });
        let address = listening(&line).unwrap_or_else(|| panic!("another line: {line:?}"));
        Self { child, address, lines, log }
    }

    /// Starts one on a `data_dir` that another process has, and waits until it waits.
    pub(crate) fn start_second(data_dir: &Path, args: &[&str]) -> Self {
        let log = data_dir.with_extension("second.log");
        // What an earlier one said is not this one's.
        let _ = std::fs::remove_file(&log);
        let (child, lines) = spawn(data_dir, args, &[], &log);
        let begun = Instant::now();
        let address = loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let waits = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut listens = waits.filter_map(|line| line["listen"].as_str()?.parse().ok());
            if let Some(address) = listens.next() {
                break address;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not wait: {said}");
            std::thread::sleep(Duration::from_millis(2));
        };
        Self { child, address, lines, log }
    }
}

/// Spawns `freehold serve` on `data_dir`, logging to `log`, and returns it with the lines of its standard output.
fn spawn(data_dir: &Path, args: &[&str], environment: &[(&str, &OsStr)], log: &Path) -> (Child, Receiver<String>) {
    // Any port, but where a test asks for the one that an earlier server had.
    let listen: &[&str] = if args.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
    let mut command = freehold(data_dir, &[&["serve"], listen, args].concat());
    // A test sends as fast as it can.
    for rate in ["FREEHOLD_LIMITS__REQUESTS_PER_SECOND", "FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND"] {
        command.env(rate, "0");
    }
    command.envs(environment.iter().copied());
    let errors = File::options().create(true).append(true).open(log).expect("a log");
    let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().expect("the program starts");
    let out = child.stdout.take().expect("a pipe");
    let (said, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                return;
            }
        }
    });
    (child, lines)
}

fn listening(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on http://")?.strip_suffix("/mcp")?.parse().ok()
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it have no more than so many bytes, so that a bomb that is not stopped harms nobody else.
    pub(crate) fn cap_memory(&self, bytes: u64) {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::As, limit).expect("a process of ours");
    }

    /// The most memory that it ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// The memory that it holds now, in bytes; its peak counts from here on.
    pub(crate) fn forget_peak(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("a process of ours");
        self.peak_memory()
    }

    /// Waits until no thread of its executor computes or waits for the disk.
    pub(crate) fn until_no_sql(&self) {
        let begun = Instant::now();
        let tasks = format!("/proc/{}/task", self.pid());
        let is_busy = |task: std::fs::DirEntry| {
            // One that has ended since is not busy.
            let told = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let state = told("stat").rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
            told("comm").starts_with("freehold-sql") && matches!(state, Some('R' | 'D'))
        };
        while std::fs::read_dir(&tasks).expect("it lives").flatten().any(is_busy) {
            assert!(begun.elapsed() < PATIENCE, "a thread still computes");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All that it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// The next line of its standard output.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// A signal, whatever comes of it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a process of ours");
    }

    /// The status with which it ends, which has to be soon.
    pub(crate) fn ended(mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// SIGTERM, and the status with which it ends.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a process of ours");
        wait(&mut self.child);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone in the orderly case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls a tool of 2026-07-28 on a connection of its own. `None` when the connection breaks before a whole
/// answer is here.
pub(crate) fn call(address: SocketAddr, token: &str, tool: &str, arguments: &Value) -> Option<Value> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\n\
         Mcp-Name: {tool}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let answer = exchange(address, format!("{head}{body}").as_bytes())?;
    let (_, json) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(json).ok()
}

/// Sends `bytes` and takes what comes until the other side closes.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    String::from_utf8(answer).ok()
}
