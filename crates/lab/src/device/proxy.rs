//! Devices that end connections and open their own: HAProxy in TCP mode, nginx's stream module.
//!
//! They balance TCP to port 80 alone, with nothing switched on that they could do without. The device's kernel holds
//! the virtual addresses.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::topology::straight::{VIPS, servers};

use super::{Running, Site, Started, missing, typed};
use crate::program::{find_program, wait_until};

/// What they balance.
const PORT: u16 = 80;

/// Connections at once: more than any trial opens, and twice as many files are within what a process may open anywhere.
const CONNECTIONS_MAX: u32 = 2_000;

/// Where distributions put nginx's modules.
const MODULE_DIRECTORIES: [&str; 3] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];

/// nginx's stream module, or why it is not there.
pub(super) fn stream_module() -> Result<PathBuf, String> {
    find_program("nginx").map_err(|error| missing(&error))?;
    let places = MODULE_DIRECTORIES.iter().map(|directory| Path::new(directory).join("ngx_stream_module.so"));
    let missing = "not installed: nginx's stream module (apt-get install libnginx-mod-stream)";
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| missing.into())
}

pub(super) fn start_haproxy(site: &Site<'_>) -> Result<Started> {
    let mut command = site.pinned("haproxy")?;
    let configuration = haproxy_text();
    command.args(["-db", "-f"]).arg(site.write("haproxy.cfg", &configuration)?);
    start(site, command, "haproxy", configuration)
}

pub(super) fn start_nginx(site: &Site<'_>) -> Result<Started> {
    let module = stream_module().map_err(|_| Error::Missing {
        program: "ngx_stream_module.so".into(),
        package: "libnginx-mod-stream".into(),
    })?;
    let configuration = nginx_text(&module);
    let file = site.write("stream.conf", &configuration)?;
    let mut command = site.pinned("nginx")?;
    command.arg("-p").arg(site.directory).arg("-c").arg(file).args(["-e", "stderr"]);
    start(site, command, "nginx-stream", configuration)
}

/// Starts a proxy on addresses of its own; it forwards once a connection to each is accepted.
fn start(site: &Site<'_>, command: Command, name: &str, configuration: String) -> Result<Started> {
    let namespace = site.namespace();
    site.straight.address_device()?;
    VIPS.iter().try_for_each(|vip| namespace.hold_address(*vip))?;
    namespace
        .set_parameters(&[("net.ipv4.ip_local_port_range", "1024 65535"), ("net.ipv4.tcp_tw_reuse", "1")])?;
    let commands = vec![typed(&command)];
    let (process, _said) = site.spawn_until(command, name, "")?;
    let accepts = || VIPS.iter().all(|vip| std::net::TcpStream::connect((*vip, PORT)).is_ok());
    let ready =
        wait_until(super::START_LIMIT, || !process.is_running() || namespace.run(accepts).unwrap_or(false));
    if !ready || !process.is_running() {
        let log = fs::read_to_string(site.directory.join(format!("{name}.log"))).unwrap_or_default();
        return Err(Error::TooSlow { waiting_for: format!("{name} to accept: {log}") });
    }
    let (running, mode) = (Running::Program(process), "the kernel's sockets".into());
    Ok(Started { running, commands, configuration, mode, destination: None })
}

fn haproxy_text() -> String {
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn {CONNECTIONS_MAX}\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
    );
    for (vip, family) in VIPS.into_iter().zip(["v4", "v6"]) {
        append(
            &mut text,
            format_args!("frontend {family}\n  bind {vip}:{PORT}\n  default_backend {family}\n"),
        );
        append(&mut text, format_args!("backend {family}\n  balance roundrobin\n"));
        for (index, server) in servers(vip).enumerate() {
            append(&mut text, format_args!("  server s{index} {server}:{PORT}\n"));
        }
    }
    text
}

fn nginx_text(module: &Path) -> String {
    let mut text = format!(
        "load_module {};\ndaemon off;\nmaster_process off;\npid stream.pid;\nworker_rlimit_nofile {};\n\
         events {{ worker_connections {CONNECTIONS_MAX}; }}\nstream {{\n  access_log off;\n",
        module.display(),
        2 * CONNECTIONS_MAX + 100,
    );
    for (vip, family) in VIPS.into_iter().zip(["v4", "v6"]) {
        append(&mut text, format_args!("  upstream {family} {{\n"));
        for server in servers(vip) {
            append(&mut text, format_args!("    server {} max_fails=0;\n", at(server)));
        }
        append(
            &mut text,
            format_args!("  }}\n  server {{ listen {}; proxy_pass {family}; tcp_nodelay on; }}\n", at(vip)),
        );
    }
    text + "}\n"
}

fn at(address: IpAddr) -> SocketAddr {
    (address, PORT).into()
}

impl Site<'_> {
    /// A file of the device's, in the testbed's directory.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(Error::system(format!("writing {}", path.display())))?;
        Ok(path)
    }
}

/// Writing to a string cannot fail.
fn append(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_proxies_balance_both_families_over_all_servers() {
        let (haproxy, nginx) = (haproxy_text(), nginx_text(Path::new("m.so")));
        assert!(haproxy.contains("bind 198.18.0.10:80\n") && haproxy.contains("bind 2001:db8::10:80\n"));
        assert!(haproxy.contains("server s3 198.18.1.14:80\n"));
        assert!(nginx.contains("listen [2001:db8::10]:80; proxy_pass v6;"));
        assert_eq!(nginx.matches("    server ").count(), 8);
        assert!(nginx.starts_with("load_module m.so;\n"));
    }
}
