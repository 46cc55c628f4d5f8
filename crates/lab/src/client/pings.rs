//! Many echo requests, by the program `ping`: an ICMP flow of its own for each call.

use std::net::IpAddr;
use std::time::Duration;

use crate::address::lab_address;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::program;

/// What came of the requests of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinged {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
}

/// Sends `count` echo requests from an address of a namespace, one every `interval`, and waits for the last
/// answer at most `timeout` (whole seconds, at least one).
pub fn ping_many(
    namespace: &Namespace,
    (source, target): (IpAddr, IpAddr),
    count: u32,
    interval: Duration,
    timeout: Duration,
) -> Result<Pinged> {
    let (source, target) = (lab_address(source)?.to_string(), lab_address(target)?.to_string());
    let (count_text, pause) = (count.to_string(), format!("{:.3}", interval.as_secs_f64()));
    let wait = timeout.as_secs().max(1).to_string();
    let mut command = namespace.command("ping")?;
    command.args(["-n", "-q", "-I", &source, "-c", &count_text, "-i", &pause, "-W", &wait, &target]);
    let limit = interval * count + timeout + program::COMMAND_LIMIT;
    let output = program::output_within(&mut command, limit)?;
    parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| Error::Command {
        command: program::command_line(&command),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// `20 packets transmitted, 19 received, 5% packet loss, time 380ms`; errors may stand between.
fn parse(text: &str) -> Option<Pinged> {
    let line = text.lines().find(|line| line.contains("packets transmitted"))?;
    let mut numbers =
        line.split(", ").map(|words| words.split(' ').next().and_then(|word| word.parse().ok()));
    Some(Pinged { sent: numbers.next()??, answered: numbers.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_sums_is_read() {
        let text = "PING 198.18.0.1 ...\n\n--- 198.18.0.1 ping statistics ---\n\
                    20 packets transmitted, 19 received, +1 errors, 5% packet loss, time 380ms\n";
        assert_eq!(parse(text), Some(Pinged { sent: 20, answered: 19 }));
        assert_eq!(parse("ping: connect: Network is unreachable\n"), None);
    }
}
