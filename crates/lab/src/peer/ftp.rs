//! FTP: vsftpd as a server for everybody, and curl as a client, with active and passive data connections.
//!
//! What is fetched and stored is a pattern, so that each byte is checked. Any thread; blocks. Refuses servers
//! outside the lab's networks.

use std::fs;
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::transfer::{count_right, write_pattern};
use crate::address::lab_address;
use crate::client::Failure;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::program;

/// Where control connections go.
const CONTROL_PORT: u16 = 21;

/// The file that is fetched.
const FILE: &str = "pattern";

/// The directory that takes files; the root of an anonymous user must not be writable (vsftpd's own rule).
const INCOMING: &str = "incoming";

/// The user and the group `daemon`, which everybody is to the server: it has to have a home that exists.
const DAEMON: u32 = 1;

/// How long the server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Who opens the data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FtpMode {
    /// The server, from its port 20 (PORT and EPRT).
    Active,
    /// The client (PASV and EPSV).
    Passive,
}

/// A running server, IPv4 and IPv6; see the module.
#[derive(Debug)]
pub struct FtpServer {
    root: PathBuf,
    _process: Process,
}

impl FtpServer {
    /// Starts it with a file of this length to fetch, and waits until it listens. The name, unique in the
    /// testbed, is also its directory's.
    pub fn start(namespace: &Namespace, name: &str, length_bytes: u64) -> Result<Self> {
        let directory = namespace.directory().join(format!("{name}.ftp"));
        let root = directory.join("root");
        let making = || format!("making files in {}", directory.display());
        make_files(&directory, &root, length_bytes).map_err(Error::system(making()))?;
        let configuration = directory.join("vsftpd.conf");
        fs::write(&configuration, configuration_text(&directory, &root)).map_err(Error::system(making()))?;
        let log = fs::File::create(directory.join("stderr.log")).map_err(Error::system(making()))?;
        let mut command = namespace.command("vsftpd")?;
        command.arg(&configuration).stdout(Stdio::null()).stderr(log);
        let process = namespace.spawn(command)?;
        let accepts = || TcpStream::connect(("127.0.0.1", CONTROL_PORT)).is_ok();
        let listens = program::wait_until(START_LIMIT, || {
            !process.is_running() || namespace.run(accepts).unwrap_or(false)
        });
        if listens && process.is_running() {
            return Ok(Self { root, _process: process });
        }
        let complaint = fs::read_to_string(directory.join("stderr.log")).unwrap_or_default();
        Err(Error::TooSlow { waiting_for: format!("vsftpd `{name}` to listen: {complaint}") })
    }

    /// How many bytes of a stored file are as they were sent, before the first that is not.
    pub fn stored_bytes(&self, name: &str) -> Result<u64> {
        let path = self.root.join(INCOMING).join(name);
        let reading = || format!("reading {}", path.display());
        let file = fs::File::open(&path).map_err(Error::system(reading()))?;
        let length = file.metadata().map_err(Error::system(reading()))?.len();
        count_right(std::io::BufReader::new(file), length, || Ok(())).map_err(Error::system(reading()))
    }
}

/// Its root, the file, the directory for others, and an empty one for the server's own process.
fn make_files(directory: &Path, root: &Path, length_bytes: u64) -> std::io::Result<()> {
    let incoming = root.join(INCOMING);
    [directory, root, &incoming, &directory.join("empty")].into_iter().try_for_each(fs::create_dir)?;
    chown(&incoming, Some(DAEMON), Some(DAEMON))?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o555))?;
    write_pattern(std::io::BufWriter::new(fs::File::create(root.join(FILE))?), length_bytes, || Ok(()))
}

fn configuration_text(directory: &Path, root: &Path) -> String {
    let (root, empty, log) = (root.display(), directory.join("empty"), directory.join("vsftpd.log"));
    // A network of its own for each session, and the filter of system calls, are for kernels of its time.
    format!(
        "background=NO\nlisten=NO\nlisten_ipv6=YES\nanonymous_enable=YES\nlocal_enable=NO\n\
         no_anon_password=YES\nftp_username=daemon\nnopriv_user=nobody\nanon_root={root}\n\
         write_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nport_enable=YES\npasv_enable=YES\n\
         connect_from_port_20=YES\nsecure_chroot_dir={}\nvsftpd_log_file={}\nxferlog_enable=YES\n\
         seccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\n",
        empty.display(),
        log.display()
    )
}

/// Fetches the server's file from a namespace, within `limit` in all; how many bytes came as they are in the
/// file, before the first that is not.
pub fn ftp_fetch(
    namespace: &Namespace,
    server: IpAddr,
    mode: FtpMode,
    limit: Duration,
) -> Result<Result<u64, Failure>> {
    let fetched = curl(namespace, server, mode, limit, &[], FILE)?;
    let count = |bytes: Vec<u8>| count_right(&*bytes, bytes.len() as u64, || Ok(())).map_err(Failure::from);
    Ok(fetched.and_then(count))
}

/// Stores a file of this length under a name that the server does not have, within `limit` in all.
pub fn ftp_store(
    namespace: &Namespace,
    server: IpAddr,
    mode: FtpMode,
    limit: Duration,
    (name, length_bytes): (&str, u64),
) -> Result<Result<(), Failure>> {
    let path = namespace.directory().join(format!("{name}.upload"));
    let writing = || format!("writing {}", path.display());
    let file = fs::File::create(&path).map_err(Error::system(writing()))?;
    write_pattern(file, length_bytes, || Ok(())).map_err(Error::system(writing()))?;
    let upload = ["--upload-file", &path.to_string_lossy()];
    Ok(curl(namespace, server, mode, limit, &upload, &format!("{INCOMING}/{name}"))?.map(drop))
}

fn curl(
    namespace: &Namespace,
    server: IpAddr,
    mode: FtpMode,
    limit: Duration,
    words: &[&str],
    file: &str,
) -> Result<Result<Vec<u8>, Failure>> {
    let host = match lab_address(server)? {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let mode: &[&str] = match mode {
        FtpMode::Active => &["--ftp-port", "-"],
        FtpMode::Passive => &["--ftp-pasv"],
    };
    let mut command = namespace.command("curl")?;
    // The list of the user's own settings must not be read, and a globbing URL not be one.
    command.args(["--disable", "--silent", "--show-error", "--globoff"]);
    command.args(["--max-time", &format!("{:.3}", limit.as_secs_f64())]).args(mode).args(words);
    command.arg(format!("ftp://{host}/{file}"));
    let output = program::output_within(&mut command, limit + program::COMMAND_LIMIT)?;
    Ok(match output.status.code() {
        Some(0) => Ok(output.stdout),
        // curl(1): operation timeout; could not connect.
        Some(28) => Err(Failure::TimedOut),
        Some(7) => Err(Failure::Refused),
        _ => Err(Failure::Other(String::from_utf8_lossy(&output.stderr).trim_end().into())),
    })
}
