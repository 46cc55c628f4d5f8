//! Reads what a `[[health_check]]` asks, and what it takes for a good answer.
//!
//! Whatever goes into a request as it stands here (path, host, server name) is of printable ASCII without
//! spaces: nobody writes a header of his own with it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::code;
use crate::findings::Findings;
use crate::model::{CheckKind, HttpRequest, Probe, StatusRange, TlsRequest, UdpRequest};
use crate::section::{Section, Value};

/// Longest path of a request. Servers take 8000 bytes of a request's first line at the least (RFC 9112, 3).
const PATH_BYTES_MAX: usize = 1_024;
/// Longest name of a host (RFC 1035, 2.3.4, without the length bytes at either end).
const HOST_NAME_BYTES_MAX: usize = 253;
/// Longest part of such a name between two dots (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Longest Host header: a name, a colon and a port.
const HOST_BYTES_MAX: usize = HOST_NAME_BYTES_MAX + 6;
/// Lowest and highest status code (RFC 9110, 15).
const STATUS_MIN: u16 = 100;
const STATUS_MAX: u16 = 599;
/// From here on a status tells of an error (RFC 9110, 15).
const STATUS_ERROR_FIRST: u16 = 400;
/// Codes and ranges of codes at the most.
const STATUS_RANGES_MAX: usize = 32;
/// Longest text that is looked for in a body, of which no more than the first 4 KiB are read.
const BODY_BYTES_MAX: usize = 1_024;
/// Longest datagram of a check, either way: one frame carries it, on tunnels too.
const PAYLOAD_BYTES_MAX: usize = 1_400;

/// Which keys mean something to one kind alone.
const KEYS_OF_KINDS: &[(&str, CheckKind)] = &[
    ("path", CheckKind::Http),
    ("host", CheckKind::Http),
    ("tls", CheckKind::Http),
    ("expect_status", CheckKind::Http),
    ("expect_body", CheckKind::Http),
    ("send", CheckKind::Udp),
    ("expect_reply", CheckKind::Udp),
    ("server_name", CheckKind::Tls),
];

/// The only key of a payload that is no text.
pub(crate) const PAYLOAD_KEYS: &[&str] = &["hex"];

/// Stands for a probe that could not be read. None of the file expects an empty reply.
const NO_PROBE: Probe = Probe::Udp(UdpRequest { send: Vec::new(), expect_reply: Some(Vec::new()) });

/// Whether the file's words for it could be read.
pub(crate) fn is_readable(probe: &Probe) -> bool {
    *probe != NO_PROBE
}

/// Reads `kind` and the keys that depend on it.
pub(crate) fn read(section: Section<'_>, findings: &Findings) -> Probe {
    let Some(kind) = section.required("kind", "\"tcp\"").and_then(|value| value.word()) else {
        return NO_PROBE;
    };
    for &(key, of) in KEYS_OF_KINDS.iter().filter(|(_, of)| *of != kind) {
        let why = format!("means nothing to a check of kind \"{kind}\"");
        section.meaningless(key, &why, &format!("write `kind = \"{of}\"`"));
    }
    match kind {
        CheckKind::Icmp => {
            let why = "means nothing to a check of kind \"icmp\", which asks the host and no port of it";
            section.meaningless("port", why, "write `kind = \"tcp\"`");
            Probe::Icmp
        }
        CheckKind::Tcp => Probe::Tcp,
        CheckKind::TcpHalfOpen => Probe::TcpHalfOpen,
        CheckKind::Http => Probe::Http(http(section, findings)),
        CheckKind::Udp => Probe::Udp(udp(section)),
        CheckKind::Tls => {
            Probe::Tls(TlsRequest { server_name: section.optional("server_name").and_then(server_name) })
        }
    }
}

fn http(section: Section<'_>, findings: &Findings) -> HttpRequest {
    let status = section.optional("expect_status");
    let request = HttpRequest {
        path: section.optional("path").and_then(path).unwrap_or_else(|| "/".to_owned()),
        host: section.optional("host").and_then(host),
        tls: section.optional("tls").and_then(|value| value.boolean()).unwrap_or(false),
        expect_status: status
            .and_then(|value| value.distinct(STATUS_RANGES_MAX, "[\"200-299\"]", status_range))
            .unwrap_or_else(|| vec![StatusRange { first: 200, last: 299 }]),
        expect_body: section.optional("expect_body").and_then(body),
    };
    let error = request.expect_status.iter().find(|range| range.last >= STATUS_ERROR_FIRST);
    if let Some((value, range)) = status.zip(error).filter(|_| request.expect_body.is_some()) {
        let message = format!(
            "`expect_status` takes {}, an error, whose page may hold what `expect_body` looks for as well",
            range.first.max(STATUS_ERROR_FIRST)
        );
        let help = "leave out codes from 400 on, or `expect_body`";
        findings.warning(code::ERRORS_TAKEN, value.at, message, help);
    }
    request
}

fn udp(section: Section<'_>) -> UdpRequest {
    let reply = section.optional("expect_reply");
    UdpRequest {
        send: section
            .optional("send")
            .and_then(|value| payload(value, "send", "health_check.send"))
            .unwrap_or_default(),
        // One that could not be read is there all the same.
        expect_reply: reply
            .map(|value| payload(value, "expect_reply", "health_check.expect_reply").unwrap_or_default()),
    }
}

/// The target of a request in origin form (RFC 9112, 3.2.1).
fn path(value: Value<'_>) -> Option<String> {
    let path = value.line(PATH_BYTES_MAX, "/health")?;
    if let Some(odd) = path.chars().find(|letter| !letter.is_ascii_graphic()) {
        let bytes =
            odd.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        value.error(code::MALFORMED, format!("`path` holds {odd:?}"), format!("write it as \"{bytes}\""));
        return None;
    }
    if !path.starts_with('/') {
        let message = format!("`path` begins without a slash: {path:?}");
        value.error(code::MALFORMED, message, format!("write {:?}", format!("/{path}")));
        return None;
    }
    Some(path)
}

/// A Host header: a name or an address, and perhaps a port (RFC 9110, 7.2).
fn host(value: Value<'_>) -> Option<String> {
    let host = value.line(HOST_BYTES_MAX, "www.example")?;
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let name = &host[..host.find(':').unwrap_or(host.len())];
            (is_host_name(name) || name.parse::<Ipv4Addr>().is_ok(), &host[name.len()..])
        }
    };
    let is_port = |digits: &str| digits.parse().is_ok_and(|port: u16| port != 0) && !digits.starts_with('+');
    if name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return Some(host);
    }
    let help = "write it as \"www.example\", \"www.example:8080\", \"198.18.1.11\" or \"[2001:db8::1]:8080\"";
    value.error(code::MALFORMED, format!("{host:?} is not a host"), help);
    None
}

/// A name for server name indication, which takes no addresses (RFC 6066, 3).
fn server_name(value: Value<'_>) -> Option<String> {
    let name = value.line(HOST_NAME_BYTES_MAX, "www.example")?;
    if !is_host_name(&name) {
        let help = "write it as \"www.example\": no address, no port, no dot at the end";
        value.error(code::MALFORMED, format!("{name:?} is not the name of a host"), help);
        return None;
    }
    Some(name)
}

/// Whether this is a name as resolvers and TLS take them, which no address is: the last label has a letter.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= HOST_NAME_BYTES_MAX
        && name.split('.').all(is_label)
        && !name.split('.').next_back().is_some_and(is_number)
}

/// 200, "200" or "200-299".
fn status_range(value: &Value<'_>) -> Option<StatusRange> {
    const FORM: &str = "write 200, \"200\" or \"200-299\"";
    if value.is_integer() {
        return value.integer(STATUS_MIN..=STATUS_MAX).map(|code| StatusRange { first: code, last: code });
    }
    let Some(text) = value.as_text() else {
        value.wrong_type("a list of status codes and ranges of them", FORM);
        return None;
    };
    let code = |digits: &str| -> Option<u16> {
        let is_code = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_code)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Some(first), Some(last)) = (code(first), code(last)) else {
        let message = format!("{text:?} is neither a status code nor a range of them");
        value.error(code::MALFORMED, message, FORM);
        return None;
    };
    let (least, most) = (first.min(last), first.max(last));
    if first > last {
        let message = format!("{text:?} is no range of status codes");
        value.error(code::MALFORMED, message, format!("the lower code comes first: \"{least}-{most}\""));
        return None;
    }
    if least < STATUS_MIN || most > STATUS_MAX {
        let message = format!("`expect_status` is out of range: {text}");
        value.error(code::OUT_OF_RANGE, message, format!("from {STATUS_MIN} to {STATUS_MAX}"));
        return None;
    }
    Some(StatusRange { first, last })
}

fn body(value: Value<'_>) -> Option<String> {
    let text = value.text("\"READY\"")?;
    within(value, "expect_body", text.len(), BODY_BYTES_MAX).then(|| text.to_owned())
}

/// The bytes of a datagram: those of a text, or any as `{ hex = "00 ff" }`. `name` is the key's from the top of
/// the file.
fn payload(value: Value<'_>, key: &str, name: &'static str) -> Option<Vec<u8>> {
    let bytes = match (value.as_text(), value.fields(name, PAYLOAD_KEYS)) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(table)) => hex(table.required("hex", "\"00 ff\"")?)?,
        (None, None) => {
            let help = format!("write `{key} = \"text\"`, or any bytes as `{key} = {{ hex = \"00 ff\" }}`");
            value.wrong_type("a string, or a table of one", help);
            return None;
        }
    };
    within(value, key, bytes.len(), PAYLOAD_BYTES_MAX).then_some(bytes)
}

/// Pairs of hexadecimal digits, perhaps with white space between pairs.
fn hex(value: Value<'_>) -> Option<Vec<u8>> {
    let text = value.text("\"00 ff\"")?;
    let mut bytes = Vec::new();
    for word in text.split_ascii_whitespace() {
        let digits: Option<Vec<u8>> =
            word.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let Some(digits) = digits.filter(|digits| digits.len() % 2 == 0) else {
            let message = "`hex` is not pairs of hexadecimal digits".to_owned();
            value.error(code::MALFORMED, message, "write two for each byte, as \"00 ff\" or \"00ff\"");
            return None;
        };
        bytes.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    }
    Some(bytes)
}

/// Whether `bytes` is from 1 to `bytes_max`; reports where it is not.
fn within(value: Value<'_>, key: &str, bytes: usize, bytes_max: usize) -> bool {
    let within = (1..=bytes_max).contains(&bytes);
    if !within {
        let message = format!("`{key}` is {bytes} bytes long");
        value.error(code::OUT_OF_RANGE, message, format!("from 1 to {bytes_max} bytes"));
    }
    within
}
