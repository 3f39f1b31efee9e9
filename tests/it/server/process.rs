//! Server processes in directories of their own.
//!
//! In: a configuration. Out: a process that is awaited by its log, and ends with its handle.
//!
//! Always true:
//! * a process ends when its handle, or this process, does;
//! * what it logs at `warn` or `error` was announced, or the test fails.
//!
//! Not here: what is asked of it.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

static DIRS: AtomicU32 = AtomicU32::new(0);

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A directory that goes with its handle.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        let number = DIRS.fetch_add(1, Ordering::Relaxed);
        let dir =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(dir.join("data")).unwrap();
        Dir(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn data(&self) -> String {
        self.path("data").display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }

    pub fn names(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server.
pub struct Server {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    announced: Vec<String>,
}

impl Server {
    /// Starts a server and waits until it serves; `announced` are parts of the warnings that may come.
    pub fn start(dir: &Dir, config: &str, announced: &[&str]) -> Server {
        let mut server = Server::spawn(dir, config, announced);
        server.wait_for_any(&["to=Standalone", "to=Leading"]);
        server
    }

    /// Starts a server.
    pub fn spawn(dir: &Dir, config: &str, announced: &[&str]) -> Server {
        let mut child = command(dir, config).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = channel();
        std::thread::spawn(move || {
            for line in errors.lines() {
                let Ok(line) = line else { return };
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let announced = announced.iter().map(|&part| part.to_owned()).collect();
        Server { child, log, seen: Vec::new(), announced }
    }

    /// Waits for a log line with this part.
    pub fn wait_for(&mut self, part: &str) {
        self.wait_for_any(&[part]);
    }

    fn wait_for_any(&mut self, parts: &[&str]) {
        loop {
            let Ok(line) = self.log.recv_timeout(PATIENCE) else {
                panic!("the server never logged {parts:?}, but\n{}", self.seen.join("\n"));
            };
            self.seen.push(line);
            let line = self.seen.last().unwrap();
            if parts.iter().any(|part| line.contains(part)) {
                return;
            }
        }
    }

    /// Ends it with SIGTERM, and looks through its log.
    pub fn stop(&mut self) -> ExitStatus {
        signal(&self.child, "TERM");
        let status = self.child.wait().unwrap();
        self.seen.extend(self.log.iter());
        let is_odd = |line: &&String| line.contains(" WARN ") || line.contains(" ERROR ");
        for line in self.seen.iter().filter(is_odd) {
            assert!(self.announced.iter().any(|part| line.contains(part)), "not announced: {line}");
        }
        status
    }

    /// Tells it to read its configuration again, which is this one.
    pub fn reload(&mut self, dir: &Dir, config: &str) {
        dir.write("zoo.cfg", config);
        signal(&self.child, "HUP");
        self.wait_for("the configuration is read again");
    }

    /// Waits until it has ended by itself.
    pub fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or must.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit status and output of a server that cannot start.
pub fn run_to_end(dir: &Dir, config: &str) -> (Option<i32>, String) {
    let output = command(dir, config).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Exit status and output of `server` with these arguments and this home directory.
pub fn run_with(dir: &Dir, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.arg("server").args(arguments).current_dir(dir.path("")).env_remove("XDG_DATA_HOME");
    let output = command.env("HOME", dir.path("home")).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn command(dir: &Dir, config: &str) -> Command {
    dir.write("zoo.cfg", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(["server", "--stop-with-stdin", "--config"]).arg(dir.path("zoo.cfg"));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}
