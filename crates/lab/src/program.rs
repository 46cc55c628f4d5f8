//! External programs: found before they are called, bounded in time, their failure told with their own words.
//!
//! Any thread. Refuses a program that is not installed by naming the Debian package that has it.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long a set-up command (`ip`, `ethtool`) may take. They answer in milliseconds; a machine under full
/// load and a kernel that is taking hundreds of namespaces apart can make that seconds.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// How often a condition is looked at while waiting for it: short against a process start, long against a
/// look.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Where `sbin` programs live when the caller's search path leaves them out, as it does for Debian users
/// after `su`.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The full path of a program on the search path. A name with a slash is taken as a path.
pub fn find_program(program: &str) -> Result<PathBuf> {
    let missing = || Error::Missing { program: program.into(), package: package_of(program).into() };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file()).ok_or_else(missing);
    }
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search_path)
        .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .ok_or_else(missing)
}

fn package_of(program: &str) -> &str {
    match program {
        "ip" | "bridge" => "iproute2",
        "ping" => "iputils-ping",
        "nft" => "nftables",
        other => other,
    }
}

/// Runs a command to its end; its output if it ended with success.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let output = output_within(command, limit)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(Error::Command {
        command: command_line(command),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command to its end, however it ends, and kills it when it takes longer than `limit`.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> Result<Output> {
    // Its own process group: Ctrl-C at the terminal must not stop the commands that then remove the testbed.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(Error::system(command_line(command)))?;
    let stdout = child.stdout.take().map(read_aside);
    let stderr = child.stderr.take().map(read_aside);
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait().map_err(Error::system(command_line(command)))? {
            Some(status) => break status,
            None if Instant::now() < deadline => thread::sleep(POLL_INTERVAL / 5),
            None => {
                // A child that has just ended by itself cannot be killed, which is as good.
                let _ = child.kill();
                let _ = child.wait();
                let waiting_for = format!("the end of `{}` ({limit:?})", command_line(command));
                return Err(Error::TooSlow { waiting_for });
            }
        }
    };
    let collect = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
        reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    Ok(Output { status, stdout: collect(stdout), stderr: collect(stderr) })
}

/// Drains a pipe on its own thread, so that a talkative child never blocks on a full one.
fn read_aside(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the text early; the exit status still tells what happened.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// The command as a person would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Waits until `condition` holds; false when `limit` is over first.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// `ip` with these words, run to its end.
pub(crate) fn ip(words: &[&str]) -> Result<Output> {
    run(Command::new(find_program("ip")?).args(words), COMMAND_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find_program("no-such-program").unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program` is not installed: apt-get install no-such-program");
        assert_eq!(package_of("ip"), "iproute2");
    }

    #[test]
    fn a_failure_is_told_in_the_programs_own_words() {
        let error =
            run(Command::new("sh").args(["-c", "echo broken >&2; exit 3"]), COMMAND_LIMIT).unwrap_err();
        assert!(error.to_string().ends_with("failed (exit status: 3): broken"), "{error}");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed() {
        let error = output_within(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::TooSlow { .. }));
    }

    #[test]
    fn more_output_than_a_pipe_holds_is_collected() {
        let output = run(Command::new("head").args(["-c", "300000", "/dev/zero"]), COMMAND_LIMIT).unwrap();
        assert_eq!(output.stdout.len(), 300_000);
    }
}
