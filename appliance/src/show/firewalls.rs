//! `show firewalls` for people: each group under a line of its own that says what both ends must have in common.

use serde_json::Value;

use super::{Column, Kind, plain, written};

const FIREWALLS: &[Column] = &[
    ("NAME", "name", Kind::Word),
    ("ADDRESS", "address", Kind::Word),
    ("PORT", "port", Kind::Word),
    ("FAR ADDRESS", "far_address", Kind::Word),
    ("WEIGHT", "weight", Kind::Number),
    ("SHARE", "share_permille", Kind::Permille),
    ("STATE", "state", Kind::Word),
    ("FOR", "in_state_s", Kind::Seconds),
    ("FILE SAYS", "differs", Kind::File),
    ("ACTIVE", "sessions_active", Kind::Count),
    ("TOTAL", "sessions_total", Kind::Count),
    ("PACKETS", "packets", Kind::Count),
    ("DRIFTED", "drifted_flows", Kind::Count),
    ("LAST CHECK", "last_check", Kind::Ago),
    ("REASON", "reason", Kind::Reason),
];

/// The answer to `show firewalls`.
pub(super) fn render(answer: &Value) -> String {
    let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return "No firewall group is configured.\n".to_owned();
    }
    // The appliance gives a group's firewalls one after the other.
    let groups: Vec<String> = rows.chunk_by(|one, other| one["group"] == other["group"]).map(group).collect();
    groups.join("\n")
}

/// One group, which has a firewall at least.
fn group(rows: &[Value]) -> String {
    let text = |field: &str| rows.first().map_or_else(String::new, |row| plain(&row[field]));
    let zone = match text("zone").as_str() {
        "-" => String::new(),
        zone => format!(", from zone {zone}"),
    };
    let headline = format!(
        "{}: to {}{zone}; hash {}, on_failure {}, on_recovery {}; fingerprint {}\n",
        text("group"),
        text("networks"),
        text("hash"),
        text("on_failure"),
        text("on_recovery"),
        text("fingerprint")
    );
    let alarms = rows.iter().filter(|row| !row["alarm"].is_null());
    let alarms: String =
        alarms.map(|row| format!("  ! {}: {}\n", plain(&row["name"]), plain(&row["alarm"]))).collect();
    let drifted = match rows.first().map(|row| &row["last_drifted_flow"]) {
        Some(flow) if flow.is_object() => format!(
            "  ! a flow drifted: {} {} to {}, of {} and seen over {}\n",
            plain(&flow["protocol"]),
            plain(&flow["source"]),
            plain(&flow["destination"]),
            plain(&flow["firewall"]),
            plain(&flow["seen_over"])
        ),
        _ => String::new(),
    };
    headline + &alarms + &drifted + &written(FIREWALLS, rows).render(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn firewall(group: &str, name: &str, state: &str) -> Value {
        json!({"group": group, "name": name, "address": "198.18.1.1", "zone": "outside", "port": "a",
            "far_address": "198.18.2.101", "weight": 1, "share_permille": 333, "state": state, "in_state_s": 62,
            "differs": [], "sessions_active": 4, "sessions_total": 100, "packets": 123_456, "drifted_flows": 0,
            "last_drifted_flow": null, "last_check": 0.05, "reason": null, "alarm": null,
            "fingerprint": "00ff00ff00ff00ff", "hash": "address-pair", "on_failure": "move",
            "on_recovery": "sticky", "networks": ["198.19.0.0/16", "198.18.9.0/24"],
            "history": [{"reason": "its probes are answered"}]})
    }

    #[test]
    fn each_group_is_a_table_under_what_both_ends_must_share() {
        let mut rows =
            [firewall("fw", "fw1", "up"), firewall("fw", "fw2", "down"), firewall("dmz", "fw1", "up")];
        rows[1]["reason"] = "no answer within 1 s".into();
        rows[1]["alarm"] = "the other end has another fingerprint".into();
        rows[2]["zone"] = "".into();
        rows[2]["last_drifted_flow"] = json!({"protocol": "tcp", "source": "198.18.0.5:1000",
            "destination": "198.19.0.1:80", "firewall": "fw1", "seen_over": "fw2"});
        let expected = "\
fw: to 198.19.0.0/16, 198.18.9.0/24, from zone outside; hash address-pair, on_failure move, on_recovery sticky; fingerprint 00ff00ff00ff00ff
  ! fw2: the other end has another fingerprint
  NAME  ADDRESS     PORT  FAR ADDRESS   WEIGHT   SHARE  STATE      FOR  FILE SAYS  ACTIVE  TOTAL  PACKETS  DRIFTED  LAST CHECK  REASON
  fw1   198.18.1.1  a     198.18.2.101       1  33.3 %  up     1 m 2 s  -               4    100    123 k        0   50 ms ago  its probes are answered
  fw2   198.18.1.1  a     198.18.2.101       1  33.3 %  down   1 m 2 s  -               4    100    123 k        0   50 ms ago  no answer within 1 s

dmz: to 198.19.0.0/16, 198.18.9.0/24; hash address-pair, on_failure move, on_recovery sticky; fingerprint 00ff00ff00ff00ff
  ! a flow drifted: tcp 198.18.0.5:1000 to 198.19.0.1:80, of fw1 and seen over fw2
  NAME  ADDRESS     PORT  FAR ADDRESS   WEIGHT   SHARE  STATE      FOR  FILE SAYS  ACTIVE  TOTAL  PACKETS  DRIFTED  LAST CHECK  REASON
  fw1   198.18.1.1  a     198.18.2.101       1  33.3 %  up     1 m 2 s  -               4    100    123 k        0   50 ms ago  its probes are answered
";
        assert_eq!(render(&json!(rows)), expected);
        assert_eq!(render(&json!([])), "No firewall group is configured.\n");
    }
}
