//! What the appliance answers, as tables. Pure: JSON in, text out.
//!
//! A field that is absent or null is shown as a dash, so that an older or newer appliance can still be read.

use serde_json::Value;

use crate::arguments::What;
use crate::table::{Align, Table, printable};
use crate::units;

mod firewalls;

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    /// A number that is a name, never rounded: a port, a CPU.
    Number,
    Count,
    Bytes,
    Seconds,
    /// Seconds since something happened.
    Ago,
    Microseconds,
    Milliseconds,
    Ratio,
    /// A share in thousandths.
    Permille,
    /// A list of servers: how many of them are up.
    Servers,
    /// Of a server or firewall: what the file says that its operator made otherwise.
    File,
    /// Of a server or firewall: what is wrong, or else why it is in its state.
    Reason,
}

/// Title, field, kind.
type Column = (&'static str, &'static str, Kind);

const SERVICES: &[Column] = &[
    ("NAME", "name", Kind::Word),
    ("PROTO", "protocol", Kind::Word),
    ("ADDRESS", "address", Kind::Word),
    ("PORT", "port", Kind::Number),
    ("MODE", "mode", Kind::Word),
    ("SCHEDULER", "scheduler", Kind::Word),
    ("STATE", "state", Kind::Word),
    ("SERVERS", "servers", Kind::Servers),
    ("ACTIVE", "sessions_active", Kind::Count),
    ("TOTAL", "sessions_total", Kind::Count),
    ("PKTS IN", "packets_in", Kind::Count),
    ("BYTES IN", "bytes_in", Kind::Bytes),
    ("PKTS OUT", "packets_out", Kind::Count),
    ("BYTES OUT", "bytes_out", Kind::Bytes),
    ("REASON", "reason", Kind::Word),
];

const SERVERS: &[Column] = &[
    ("SERVICE", "service", Kind::Word),
    ("ADDRESS", "address", Kind::Word),
    ("PORT", "port", Kind::Number),
    ("WEIGHT", "weight", Kind::Number),
    ("STATE", "state", Kind::Word),
    ("FOR", "in_state_s", Kind::Seconds),
    ("FILE SAYS", "differs", Kind::File),
    ("ACTIVE", "sessions_active", Kind::Count),
    ("CLOSING", "sessions_closing", Kind::Count),
    ("TOTAL", "sessions_total", Kind::Count),
    ("RESPONSE", "response_time_ms", Kind::Milliseconds),
    ("LAST CHECK", "last_check", Kind::Ago),
    ("REASON", "reason", Kind::Reason),
];

const SESSIONS: &[Column] = &[
    ("PROTO", "protocol", Kind::Word),
    ("CLIENT", "client", Kind::Word),
    ("VIP", "vip", Kind::Word),
    ("SERVER", "server", Kind::Word),
    ("FIREWALL", "firewall", Kind::Word),
    ("STATE", "state", Kind::Word),
    ("AGE", "age_s", Kind::Seconds),
    ("IDLE", "idle_s", Kind::Seconds),
    ("PKTS IN", "packets_in", Kind::Count),
    ("PKTS OUT", "packets_out", Kind::Count),
];

const STICKY: &[Column] = &[
    ("SERVICE", "service", Kind::Word),
    ("CLIENT", "client", Kind::Word),
    ("SERVER", "server", Kind::Word),
    ("SESSIONS", "sessions", Kind::Count),
    ("IDLE", "idle_s", Kind::Seconds),
    ("TIMEOUT", "timeout_s", Kind::Seconds),
];

const PORTS: &[Column] = &[
    ("NAME", "name", Kind::Word),
    ("INTERFACE", "interface", Kind::Word),
    ("LINK", "link", Kind::Word),
    ("DRIVER", "driver", Kind::Word),
    ("MODE", "mode", Kind::Word),
    ("MTU", "mtu", Kind::Number),
    ("MAC", "mac", Kind::Word),
    ("RX PKTS", "rx_packets", Kind::Count),
    ("RX BYTES", "rx_bytes", Kind::Bytes),
    ("RX DROPPED", "rx_dropped", Kind::Count),
    ("TX PKTS", "tx_packets", Kind::Count),
    ("TX BYTES", "tx_bytes", Kind::Bytes),
    ("TX DROPPED", "tx_dropped", Kind::Count),
    ("REASON", "reason", Kind::Word),
];

const WORKERS: &[Column] = &[
    ("CPU", "cpu", Kind::Number),
    ("POLLING", "polling", Kind::Word),
    ("BUSY", "busy_ratio", Kind::Ratio),
    ("PACKETS", "packets", Kind::Count),
    ("SESSIONS", "sessions", Kind::Count),
    ("PLAN", "plan_generation", Kind::Number),
];

const DROPS: &[Column] = &[
    ("REASON", "reason", Kind::Word),
    ("PACKETS", "packets", Kind::Count),
    ("MEANING", "meaning", Kind::Word),
];

const NEIGHBOURS: &[Column] = &[
    ("PORT", "port", Kind::Word),
    ("ADDRESS", "address", Kind::Word),
    ("MAC", "mac", Kind::Word),
    ("STATE", "state", Kind::Word),
    ("KIND", "kind", Kind::Word),
];

const LATENCY: &[Column] = &[
    ("CPU", "cpu", Kind::Number),
    ("TURNS", "turns", Kind::Count),
    ("P50", "p50_us", Kind::Microseconds),
    ("P99", "p99_us", Kind::Microseconds),
    ("P99.9", "p999_us", Kind::Microseconds),
    ("MAX", "max_us", Kind::Microseconds),
];

const BRIDGE: &[Column] = &[
    ("BRIDGE", "bridge", Kind::Word),
    ("MAC", "mac", Kind::Word),
    ("VLAN", "vlan", Kind::Number),
    ("PORT", "port", Kind::Word),
    ("IDLE", "idle_s", Kind::Seconds),
    ("MOVES", "moves", Kind::Number),
];

/// The answer to `show WHAT` for people.
pub(crate) fn render(what: What, answer: &Value) -> String {
    let (columns, none) = match what {
        What::Status => return status(answer),
        What::Services => (SERVICES, "No services are configured."),
        What::Servers => (SERVERS, "No servers are configured."),
        What::Sessions => return table(&session_columns(answer), "No session is open.", answer),
        What::Ports => (PORTS, "No ports are in use."),
        What::Workers => (WORKERS, "No workers run."),
        What::Drops => (DROPS, "Nothing was dropped."),
        What::Neighbours => (NEIGHBOURS, "No neighbour is known."),
        What::Latency => (LATENCY, "No turns were measured."),
        What::Bridge => (BRIDGE, "No bridge is configured."),
        What::Firewalls => return firewalls::render(answer),
    };
    table(columns, none, answer)
}

/// Firewalls are left out where no session passes one.
fn session_columns(answer: &Value) -> Vec<Column> {
    let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let has_firewalls = rows.iter().any(|row| !row["firewall"].is_null());
    SESSIONS.iter().copied().filter(|&(_, field, _)| field != "firewall" || has_firewalls).collect()
}

/// The answer to `show sessions --sticky` for people.
pub(crate) fn render_sticky(answer: &Value) -> String {
    table(STICKY, "No client is remembered.", answer)
}

/// A row for each object of `answer`, or `none`.
fn table(columns: &[Column], none: &str, answer: &Value) -> String {
    let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return format!("{none}\n");
    }
    written(columns, rows).render(0)
}

/// A row for each of `rows`.
fn written(columns: &[Column], rows: &[Value]) -> Table {
    let mut table = Table::new(columns.iter().map(|&(title, _, kind)| (title, align(kind))));
    for row in rows {
        table.row(columns.iter().map(|&(_, field, kind)| match kind {
            Kind::File => file_says(row),
            Kind::Reason => reason(row),
            _ => cell(&row[field], kind),
        }));
    }
    table
}

fn align(kind: Kind) -> Align {
    match kind {
        Kind::Word | Kind::File | Kind::Reason => Align::Left,
        _ => Align::Right,
    }
}

fn cell(value: &Value, kind: Kind) -> String {
    let number = || value.as_f64().filter(|number| *number >= 0.0);
    let written = match kind {
        Kind::Count => value.as_u64().map(units::count),
        Kind::Bytes => value.as_u64().map(units::bytes),
        // Whole seconds are enough, whatever the appliance knows.
        Kind::Seconds => number().map(|number| units::seconds(number as u64)),
        Kind::Ago => number().map(|number| match number < 1.0 {
            true => format!("{} ago", units::microseconds(number * 1e6)),
            false => format!("{} ago", units::seconds(number as u64)),
        }),
        Kind::Microseconds => number().map(units::microseconds),
        Kind::Milliseconds => number().map(|number| units::microseconds(number * 1e3)),
        Kind::Ratio => number().map(units::percent),
        Kind::Permille => number().map(|permille| units::percent(permille / 1_000.0)),
        Kind::Servers => value.as_array().map(|servers| {
            let up = servers.iter().filter(|server| server["state"] == "up").count();
            format!("{up}/{}", servers.len())
        }),
        Kind::Word | Kind::Number | Kind::File | Kind::Reason => None,
    };
    written.unwrap_or_else(|| plain(value))
}

/// What the file says of a server where it runs otherwise.
fn file_says(row: &Value) -> String {
    let differs = row["differs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let said = differs.iter().map(|word| match word.as_str() {
        Some("weight") => format!("weight {}", plain(&row["configured_weight"])),
        Some("disabled" | "draining") => "enabled".to_owned(),
        _ => plain(word),
    });
    let said: Vec<String> = said.collect();
    if said.is_empty() { "-".to_owned() } else { said.join(", ") }
}

/// What is wrong with a server, or else why it is in its state.
fn reason(row: &Value) -> String {
    let last = || row["history"].as_array().and_then(|history| history.last());
    match &row["reason"] {
        Value::Null => last().map_or_else(|| plain(&Value::Null), |change| plain(&change["reason"])),
        reason => plain(reason),
    }
}

/// A value in words, on one line.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => printable(text.lines().next().unwrap_or_default()),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// `show status`: a headline, what is wrong, then the figures.
fn status(answer: &Value) -> String {
    let text = |field: &str| plain(&answer[field]);
    let count = |field: &str| cell(&answer[field], Kind::Count);
    let seconds = |field: &str| cell(&answer[field], Kind::Seconds);
    let headline = format!(
        "{}: {}, running for {} (jeoul {})\n",
        text("name"),
        text("state"),
        seconds("uptime_s"),
        text("version")
    );
    let reasons = answer["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let reasons: String = reasons.iter().map(|reason| format!("  ! {}\n", plain(reason))).collect();
    let reload = match &answer["pending_reload_error"] {
        Value::Null => String::new(),
        error => format!("  ! the file on disk was refused: {}\n", plain(error)),
    };
    let differing = match answer["servers_differing"].as_u64() {
        None | Some(0) => String::new(),
        Some(servers) => format!(", {servers} otherwise than the file says"),
    };
    let drifted = match answer["drifted_flows"].as_u64() {
        None | Some(0) => String::new(),
        Some(flows) => format!(", {flows} flows have drifted"),
    };
    let firewalls = format!("{} of {} up{drifted}", text("firewalls_up"), text("firewalls_total"));
    let has_firewalls = answer["firewalls_total"].as_u64().is_some_and(|firewalls| firewalls > 0);
    let lines = [
        (
            "configuration",
            format!(
                "{}, loaded {} ago, plan {}",
                text("config_file"),
                seconds("config_loaded_s_ago"),
                text("plan_generation")
            ),
        ),
        ("workers", text("workers")),
        ("services", format!("{} of {} up", text("services_up"), text("services_total"))),
        ("servers", format!("{} of {} up{}", text("servers_up"), text("servers_total"), differing)),
        ("firewalls", if has_firewalls { firewalls } else { String::new() }),
        ("sessions IPv4", usage(answer, "sessions_ipv4", "capacity_ipv4")),
        ("sessions IPv6", usage(answer, "sessions_ipv6", "capacity_ipv6")),
        (
            "frames",
            format!(
                "{} received, {} transmitted, {} dropped",
                count("received"),
                count("transmitted"),
                count("dropped")
            ),
        ),
    ];
    let told = lines.iter().filter(|(_, value)| !value.is_empty());
    let figures: String = told.map(|(name, value)| format!("  {name:<15}{value}\n")).collect();
    headline + &reasons + &reload + &figures
}

/// `1200 of 1 M (0.12 %)`.
fn usage(answer: &Value, used: &str, capacity: &str) -> String {
    let share = match (answer[used].as_f64(), answer[capacity].as_f64()) {
        (Some(used), Some(capacity)) if capacity > 0.0 => format!(" ({})", units::percent(used / capacity)),
        _ => String::new(),
    };
    format!("{} of {}{share}", cell(&answer[used], Kind::Count), cell(&answer[capacity], Kind::Count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_as_a_table() {
        let answer = json!([
            {"name": "web", "address": "198.18.0.10", "protocol": "tcp", "port": 80, "mode": "routed",
             "scheduler": "round-robin", "state": "up", "sessions_active": 12, "sessions_total": 1_234_567,
             "packets_in": 99_999, "bytes_in": 1_536, "packets_out": 100_000, "bytes_out": 0,
             "reason": null, "servers": [{"state": "up"}, {"state": "down"}, {"state": "up"}]},
            {"name": "dns", "address": "2001:db8::10", "protocol": "udp", "port": "8000-8099",
             "mode": "routed",
             "scheduler": "hash", "state": "down", "sessions_active": 0, "sessions_total": 0,
             "packets_in": 0, "bytes_in": 0, "packets_out": 0, "bytes_out": 0, "servers": 2,
             "reason": "none of its 2 servers can take sessions"},
        ]);
        let expected = "\
NAME  PROTO  ADDRESS            PORT  MODE    SCHEDULER    STATE  SERVERS  ACTIVE   TOTAL  PKTS IN  BYTES IN  PKTS OUT  BYTES OUT  REASON
web   tcp    198.18.0.10          80  routed  round-robin  up         2/3      12  1.23 M    99999   1.5 KiB     100 k        0 B  -
dns   udp    2001:db8::10  8000-8099  routed  hash         down         2       0       0        0       0 B         0        0 B  none of its 2 servers can take sessions
";
        assert_eq!(render(What::Services, &answer), expected);
    }

    #[test]
    fn servers_as_a_table() {
        let answer = json!([
            {"service": "web", "address": "198.18.1.11", "port": 80, "weight": 1, "configured_weight": 1, "state": "up",
             "in_state_s": 300, "differs": [], "sessions_active": 4, "sessions_closing": 7, "sessions_total": 100,
             "response_time_ms": 0.25, "last_check": 0.2529, "reason": null,
             "history": [{"reason": "connection refused"}, {"reason": "its check succeeded"}]},
            {"service": "web", "address": "198.18.1.12", "port": 8080, "weight": 5, "configured_weight": 1,
             "state": "down", "in_state_s": 62, "differs": ["weight", "draining"], "sessions_active": 0,
             "sessions_closing": 0, "sessions_total": 100, "last_check": 12.5, "reason": "connection refused",
             "history": [{"reason": "no SYN-ACK within 1 s"}]},
        ]);
        let expected = "\
SERVICE  ADDRESS      PORT  WEIGHT  STATE      FOR  FILE SAYS          ACTIVE  CLOSING  TOTAL  RESPONSE  LAST CHECK  REASON
web      198.18.1.11    80       1  up         5 m  -                       4        7    100    250 µs  253 ms ago  its check succeeded
web      198.18.1.12  8080       5  down   1 m 2 s  weight 1, enabled       0        0    100         -    12 s ago  connection refused
";
        assert_eq!(render(What::Servers, &answer), expected);
    }

    #[test]
    fn sessions_workers_and_turns_have_units() {
        let session = json!([{"client": "198.18.0.50:40000", "vip": "198.18.0.10:80",
            "server": "198.18.1.11:80",
            "firewall": null, "protocol": "tcp", "state": "established", "age_s": 7_440, "idle_s": 3,
            "packets_in": 10, "packets_out": 8}]);
        let expected = "\
PROTO  CLIENT             VIP             SERVER          STATE            AGE  IDLE  PKTS IN  PKTS OUT
tcp    198.18.0.50:40000  198.18.0.10:80  198.18.1.11:80  established  2 h 4 m   3 s       10         8
";
        assert_eq!(render(What::Sessions, &session), expected);

        let passing = json!([{"client": "198.18.0.50:40000", "vip": "198.19.0.10:80",
            "server": "198.19.0.10:80",
            "firewall": "fw2", "protocol": "tcp", "state": "established", "age_s": null, "idle_s": 3,
            "packets_in": 10, "packets_out": 8}]);
        let expected = "\
PROTO  CLIENT             VIP             SERVER          FIREWALL  STATE        AGE  IDLE  PKTS IN  PKTS OUT
tcp    198.18.0.50:40000  198.19.0.10:80  198.19.0.10:80  fw2       established    -   3 s       10         8
";
        assert_eq!(render(What::Sessions, &passing), expected);

        let workers = json!([{"cpu": 1, "packets": 2_000_000, "busy_ratio": 0.125, "sessions": 9,
            "plan_generation": 3, "polling": "adaptive"}]);
        let expected = "\
CPU  POLLING     BUSY  PACKETS  SESSIONS  PLAN
  1  adaptive  12.5 %      2 M         9     3
";
        assert_eq!(render(What::Workers, &workers), expected);

        let latency =
            json!([{"cpu": 1, "p50_us": 0.8, "p99_us": 25, "p999_us": 140.2, "max_us": 2_100, "turns": 5}]);
        let expected = "\
CPU  TURNS     P50    P99   P99.9     MAX
  1      5  0.8 µs  25 µs  140 µs  2.1 ms
";
        assert_eq!(render(What::Latency, &latency), expected);
    }

    #[test]
    fn an_empty_table_says_so_and_a_missing_field_is_a_dash() {
        assert_eq!(render(What::Sessions, &json!([])), "No session is open.\n");
        assert_eq!(render(What::Drops, &json!([])), "Nothing was dropped.\n");
        let expected = "\
REASON       PACKETS  MEANING
ttl-expired        7  -
";
        assert_eq!(render(What::Drops, &json!([{"reason": "ttl-expired", "packets": 7}])), expected);
    }

    #[test]
    fn status_begins_with_what_matters() {
        let answer = json!({"name": "lb1", "version": "0.1.0", "state": "degraded",
            "reasons": ["service dns has no server up"], "uptime_s": 245, "plan_generation": 3,
            "config_file": "/etc/jeoul/jeoul.toml", "config_loaded_s_ago": 5, "workers": 1,
            "sessions_ipv4": 1_200, "capacity_ipv4": 1_000_000, "sessions_ipv6": 0, "capacity_ipv6": 100_000,
            "services_up": 1, "services_total": 2, "servers_up": 3, "servers_total": 5, "servers_differing": 2,
            "firewalls_up": 1, "firewalls_total": 3, "drifted_flows": 2,
            "received": 123_456, "transmitted": 123_400, "dropped": 56,
            "pending_reload_error": "error[E0101]: unknown key\n  --> lb.toml:3:1"});
        let expected = "\
lb1: degraded, running for 4 m 5 s (jeoul 0.1.0)
  ! service dns has no server up
  ! the file on disk was refused: error[E0101]: unknown key
  configuration  /etc/jeoul/jeoul.toml, loaded 5 s ago, plan 3
  workers        1
  services       1 of 2 up
  servers        3 of 5 up, 2 otherwise than the file says
  firewalls      1 of 3 up, 2 flows have drifted
  sessions IPv4  1200 of 1 M (0.12 %)
  sessions IPv6  0 of 100 k (0 %)
  frames         123 k received, 123 k transmitted, 56 dropped
";
        assert_eq!(render(What::Status, &answer), expected);
    }
}
