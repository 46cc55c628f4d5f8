//! nginx as a web server that answers every request with its name.
//!
//! It has its own prefix directory and reads nothing of the host's configuration. It runs as a single
//! process: a worker would outlive its killed master by a moment and still accept. Any thread.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::program;

/// How long nginx may take until it listens; on a loaded machine with two cores it needs far less than one
/// second.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running (or killed) nginx; see the module. Answers `GET /` with its name as the body, and with the
/// client's address as it saw it in the header `X-Client-Address`.
#[derive(Debug)]
pub struct NginxServer {
    name: String,
    namespace: Namespace,
    ports: Vec<u16>,
    prefix: PathBuf,
    process: Option<Process>,
}

/// One line of a server's access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The client as the server saw it.
    pub client: SocketAddr,
    /// The server's address and port that it called.
    pub server: SocketAddr,
    /// The answer's status.
    pub status: u16,
}

impl NginxServer {
    /// Starts it on `ports`, IPv4 and IPv6, and waits until it listens. The name, unique in the testbed, is
    /// also its directory's.
    pub fn start(namespace: &Namespace, name: &str, ports: &[u16]) -> Result<Self> {
        Self::start_with(namespace, name, ports, &configuration_text(name, ports))
    }

    fn start_with(namespace: &Namespace, name: &str, ports: &[u16], text: &str) -> Result<Self> {
        let prefix = namespace.directory().join(name);
        fs::create_dir(&prefix).map_err(Error::system(format!("creating {}", prefix.display())))?;
        let configuration = prefix.join("nginx.conf");
        fs::write(&configuration, text)
            .map_err(Error::system(format!("writing {}", configuration.display())))?;
        let (namespace, name, ports) = (namespace.clone(), name.into(), ports.into());
        let mut server = Self { name, namespace, ports, prefix, process: None };
        server.revive()?;
        Ok(server)
    }

    /// Starts it as a server to be measured with: it writes no log of requests, and has room for many at once.
    pub fn start_for_load(namespace: &Namespace, name: &str, ports: &[u16]) -> Result<Self> {
        Self::start_with(namespace, name, ports, &load_configuration_text(name, ports))
    }

    /// Its name, which is what it answers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills it with SIGKILL: its kernel has reset its connections, and refuses new ones, when this returns.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again after a kill and waits until it listens; nothing happens when it runs.
    pub fn revive(&mut self) -> Result<()> {
        if self.process.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let mut command = self.namespace.command("nginx")?;
        // Before the configuration is read, nginx logs to the path built into it unless told otherwise.
        command.arg("-p").arg(&self.prefix).arg("-c").arg(self.prefix.join("nginx.conf"));
        command.arg("-e").arg(self.prefix.join("error.log"));
        let log = fs::File::create(self.prefix.join("stderr.log"))
            .map_err(Error::system(format!("creating a log in {}", self.prefix.display())))?;
        command.stdout(std::process::Stdio::null()).stderr(log);
        let process = self.process.insert(self.namespace.spawn(command)?);
        let listens = program::wait_until(START_LIMIT, || {
            !process.is_running() || self.namespace.run(|| all_accept(&self.ports)).unwrap_or(false)
        });
        if listens && process.is_running() {
            return Ok(());
        }
        let complaint = fs::read_to_string(self.prefix.join("error.log")).unwrap_or_default();
        Err(Error::TooSlow { waiting_for: format!("nginx `{}` to listen: {complaint}", self.name) })
    }

    /// All requests that it has answered so far, oldest first. A request is in here before its client sees
    /// the end of the answer.
    pub fn accesses(&self) -> Vec<Access> {
        let log = fs::read_to_string(self.prefix.join("access.log")).unwrap_or_default();
        log.lines().filter_map(parse_access).collect()
    }
}

/// Whether a connection to each port is accepted, over the namespace's loopback.
fn all_accept(ports: &[u16]) -> bool {
    ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
}

fn configuration_text(name: &str, ports: &[u16]) -> String {
    let listen: String = ports
        .iter()
        .map(|port| format!("    listen 0.0.0.0:{port};\n    listen [::]:{port} ipv6only=on;\n"))
        .collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {kind};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n{temporary}  \
         log_format lab '$remote_addr $remote_port $server_addr $server_port $status';\n  \
         access_log access.log lab;\n  \
         server {{\n{listen}    \
         add_header X-Client-Address $remote_addr;\n    \
         location / {{ return 200 \"{name}\"; }}\n  }}\n}}\n"
    )
}

fn load_configuration_text(name: &str, ports: &[u16]) -> String {
    configuration_text(name, ports)
        .replace("access_log access.log lab;", "access_log off;")
        .replace("worker_connections 1024;", "worker_connections 16384;")
        .replace("daemon off;", "daemon off;\nworker_rlimit_nofile 32768;")
}

fn parse_access(line: &str) -> Option<Access> {
    let mut words = line.split(' ');
    let mut address = || {
        let ip: IpAddr = words.next()?.parse().ok()?;
        Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
    };
    let (client, server) = (address()?, address()?);
    Some(Access { client, server, status: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_for_load_writes_no_log_of_requests() {
        let text = load_configuration_text("a", &[80]);
        for words in ["access_log off;", "worker_connections 16384;", "worker_rlimit_nofile 32768;"] {
            assert!(text.contains(words), "{words}");
        }
        assert!(!text.contains("access.log"));
    }

    #[test]
    fn a_line_of_the_access_log() {
        let access = parse_access("2001:db8::50 40000 2001:db8:1::11 80 200").unwrap();
        assert_eq!(access.client, "[2001:db8::50]:40000".parse().unwrap());
        assert_eq!(access.server, "[2001:db8:1::11]:80".parse().unwrap());
        assert_eq!(access.status, 200);
        assert_eq!(parse_access("198.18.0.50 40000"), None);
    }
}
