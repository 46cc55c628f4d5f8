//! What `jeoul explain` says, for people. Pure: JSON in, text out.

use serde_json::Value;

use crate::show::plain;
use crate::table::{Align, Table};

/// Spaces in front of a line of an act.
const INDENT: usize = 2;

/// The account of a packet and of its answer.
pub(crate) fn render(account: &Value) -> String {
    let ends = format!("{} > {}", plain(&account["source"]), plain(&account["destination"]));
    let mut text = format!("{ends} {}\n", plain(&account["protocol"]));
    if !account["session"].is_null() {
        text.push_str(&format!("  {}\n", session(&account["session"])));
    }
    text.push_str("\nRequest\n");
    text.push_str(&act(&account["request"]));
    match &account["reply"] {
        Value::Null => {}
        reply => {
            let crosses = reply["crosses"] != false;
            text.push_str(if crosses { "\nReply\n" } else { "\nReply (does not pass here)\n" });
            text.push_str(&act(reply));
        }
    }
    text
}

fn session(session: &Value) -> String {
    let direction = match plain(&session["direction"]).as_str() {
        "reply" => "a reply of",
        _ => "a request of",
    };
    format!(
        "{direction} a live session: {} calls {}, {}, idle for {} s",
        plain(&session["client"]),
        plain(&session["vip"]),
        plain(&session["state"]),
        plain(&session["idle_s"])
    )
}

fn act(act: &Value) -> String {
    let mut lines = Table::new([("", Align::Left), ("", Align::Left)]);
    let mut line = |name: &str, words: String| lines.row([name.to_owned(), words]);
    for note in list(&act["notes"]) {
        line("note", plain(note));
    }
    line("comes in", format!("{}{}", plain(&act["from"]["port"]), vlan(&act["from"])));
    for firewall in list(&act["firewalls"]) {
        let name = if firewall["way"] == "from" { "from firewall" } else { "to firewall" };
        let (who, why) = self::firewall(firewall);
        line(name, who);
        line("because", why);
        if !firewall["firewall"].is_null() {
            line("then", then(list(&firewall["then"])));
        }
    }
    if !act["service"].is_null() {
        let scheduler = match &act["scheduler"] {
            Value::Null => String::new(),
            scheduler => format!(", {}", plain(scheduler)),
        };
        line("service", format!("{}: {}{scheduler}", plain(&act["service"]), plain(&act["mode"])));
    }
    if !act["server"].is_null() {
        line("server", format!("{}: {}", member(&act["server"]), plain(&act["server"]["why"])));
    }
    for other in list(&act["others"]) {
        line("other server", format!("{}, {}", member(other), plain(&other["state"])));
    }
    if !act["source_nat"].is_null() {
        let source = match &act["source_nat"]["source"] {
            Value::Null => "no".to_owned(),
            source => plain(source),
        };
        line("source NAT", format!("{source}: {}", plain(&act["source_nat"]["why"])));
    }
    let drop = match &act["drop"] {
        Value::Null => String::new(),
        reason => format!(" ({})", plain(reason)),
    };
    line("outcome", format!("{}{drop}: {}", plain(&act["outcome"]), plain(&act["why"])));
    if !act["answer"].is_null() {
        let answer = &act["answer"];
        let ends = format!("{} > {}", plain(&answer["source"]), plain(&answer["destination"]));
        line("answer", format!("{}, {ends}", plain(&answer["what"])));
    }
    for way in list(&act["to"]) {
        line("goes out", way_out(way));
    }
    // The first line is that of the titles, of which there are none.
    let lines = lines.render(INDENT);
    let (_, lines) = lines.split_once('\n').unwrap_or_default();
    lines.to_owned() + &rewrite(list(&act["rewrite"]))
}

/// A firewall that a packet comes from or goes to, and why.
fn firewall(firewall: &Value) -> (String, String) {
    let group = plain(&firewall["group"]);
    let mut why = plain(&firewall["why"]);
    if firewall["moved"] == true {
        why.push_str("; a failure has moved it");
    }
    if firewall["drifted"] == true {
        why.push_str("; it has drifted: packets came over another firewall");
    }
    let hash = plain(&firewall["hash"]);
    let who = match &firewall["firewall"] {
        Value::Null => format!("none of group {group} ({hash})"),
        name => {
            let [address, state] = [&firewall["address"], &firewall["state"]].map(plain);
            format!("{} of group {group} ({hash}): {address}, {state}", plain(name))
        }
    };
    (who, why)
}

/// Who would take over.
fn then(names: &[Value]) -> String {
    match names {
        [] => "nobody would take over".to_owned(),
        names => {
            let names: Vec<String> = names.iter().map(plain).collect();
            format!("{} would take over", names.join(", then "))
        }
    }
}

fn way_out(way: &Value) -> String {
    let port = plain(&way["port"]);
    if way["is_host"] == true {
        return format!("{port}, to the host");
    }
    let next_hop = match &way["next_hop"] {
        Value::Null => String::new(),
        address => format!("{} at ", plain(address)),
    };
    format!("{port}{}, to {next_hop}{}", vlan(way), plain(&way["mac"]))
}

/// The tag that frames bear there, behind a port's name.
fn vlan(place: &Value) -> String {
    match place["vlan"].as_u64() {
        None | Some(0) => String::new(),
        Some(vlan) => format!(" (VLAN {vlan})"),
    }
}

fn rewrite(rows: &[Value]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let columns = [("FIELD", Align::Left), ("BEFORE", Align::Left), ("AFTER", Align::Left)];
    let mut table = Table::new(columns);
    for row in rows {
        let after = if row["before"] == row["after"] { "unchanged".into() } else { plain(&row["after"]) };
        table.row([field_name(&plain(&row["field"])), plain(&row["before"]), after]);
    }
    table.render(INDENT)
}

fn field_name(field: &str) -> String {
    match field {
        "hop_limit" => "TTL, hop limit".into(),
        "dscp" => "DSCP".into(),
        "mss" => "MSS".into(),
        "vlan" => "VLAN".into(),
        other => other.replace("_mac", " MAC").replace('_', " "),
    }
}

fn member(member: &Value) -> String {
    let (address, port) = (plain(&member["address"]), plain(&member["port"]));
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_balanced_packet_and_its_reply_as_a_person_reads_them() {
        let account = json!({
            "source": "198.18.0.50:40000", "destination": "198.18.0.10:80", "protocol": "tcp", "session": null,
            "request": {
                "from": {"port": "outside", "vlan": 10}, "notes": [], "service": "web", "mode": "routed",
                "scheduler": "round-robin",
                "server": {"address": "198.18.1.11", "port": 8080, "state": "up",
                    "why": "its turn, of 1 that take sessions"},
                "others": [{"address": "2001:db8::12", "port": 8080, "state": "down"}],
                "source_nat": {"source": null, "why": "source_nat is never"},
                "outcome": "forwarded", "why": "it opens a session of the service", "drop": null, "answer": null,
                "to": [{"port": "inside", "vlan": 20, "next_hop": "198.18.1.11", "mac": "02:00:00:00:02:11"}],
                "rewrite": [
                    {"field": "source_mac", "before": "02:00:00:00:01:50", "after": "02:00:00:00:02:01"},
                    {"field": "source", "before": "198.18.0.50:40000", "after": "198.18.0.50:40000"},
                    {"field": "hop_limit", "before": "64", "after": "63"},
                ],
            },
            "reply": {"from": {"port": "inside"}, "notes": ["servers answer directly"], "crosses": false,
                "outcome": "dropped", "drop": "no-route", "why": "no route leads to its destination"},
        });
        let expected = "\
198.18.0.50:40000 > 198.18.0.10:80 tcp

Request
  comes in      outside (VLAN 10)
  service       web: routed, round-robin
  server        198.18.1.11:8080: its turn, of 1 that take sessions
  other server  [2001:db8::12]:8080, down
  source NAT    no: source_nat is never
  outcome       forwarded: it opens a session of the service
  goes out      inside (VLAN 20), to 198.18.1.11 at 02:00:00:00:02:11
  FIELD           BEFORE             AFTER
  source MAC      02:00:00:00:01:50  02:00:00:00:02:01
  source          198.18.0.50:40000  unchanged
  TTL, hop limit  64                 63

Reply (does not pass here)
  note      servers answer directly
  comes in  inside
  outcome   dropped (no-route): no route leads to its destination
";
        assert_eq!(render(&account), expected);
    }

    #[test]
    fn the_firewalls_of_both_directions_stand_before_the_outcome() {
        let firewall = |way: &str, why: &str| {
            json!({"way": way, "group": "in", "firewall": "fw2", "address": "198.18.1.2", "state": "up",
                "hash": "address-pair", "row": 17, "why": why, "then": ["fw1", "fw3"], "moved": null, "drifted": null})
        };
        let mut back = firewall("from", "the request went over it");
        back["then"] = json!([]);
        (back["moved"], back["drifted"]) = (true.into(), true.into());
        let none = json!({"way": "to", "group": "out", "firewall": null, "hash": "five-tuple", "why": "none takes it: fw1 is down"});
        let account = json!({
            "source": "198.18.0.50:40000", "destination": "198.19.0.11:80", "protocol": "tcp", "session": null,
            "request": {"from": {"port": "outside"}, "outcome": "forwarded", "why": "it opens a session",
                "firewalls": [firewall("to", "first preference of row 17 for this pair of hosts")]},
            "reply": {"from": {"port": "front"}, "outcome": "dropped", "drop": "no-firewall", "why": "none",
                "firewalls": [back, none]},
        });
        let expected = "\
198.18.0.50:40000 > 198.19.0.11:80 tcp

Request
  comes in     outside
  to firewall  fw2 of group in (address-pair): 198.18.1.2, up
  because      first preference of row 17 for this pair of hosts
  then         fw1, then fw3 would take over
  outcome      forwarded: it opens a session

Reply
  comes in       front
  from firewall  fw2 of group in (address-pair): 198.18.1.2, up
  because        the request went over it; a failure has moved it; it has drifted: packets came over another firewall
  then           nobody would take over
  to firewall    none of group out (five-tuple)
  because        none takes it: fw1 is down
  outcome        dropped (no-firewall): none
";
        assert_eq!(render(&account), expected);
    }

    #[test]
    fn a_live_session_and_an_answer_are_named() {
        let account = json!({
            "source": "198.18.0.50:40000", "destination": "198.18.0.10:80", "protocol": "tcp",
            "session": {"client": "198.18.0.50:40000", "vip": "198.18.0.10:80", "state": "reset", "idle_s": 3,
                "direction": "request"},
            "request": {"from": {"port": "outside"}, "outcome": "answered", "why": "its session was reset",
                "answer": {"what": "TCP reset", "source": "198.18.0.10:80", "destination": "198.18.0.50:40000"},
                "to": [{"port": "outside", "vlan": 0, "next_hop": null, "mac": "02:00:00:00:01:50"}]},
            "reply": null,
        });
        let expected = "\
198.18.0.50:40000 > 198.18.0.10:80 tcp
  a request of a live session: 198.18.0.50:40000 calls 198.18.0.10:80, reset, idle for 3 s

Request
  comes in  outside
  outcome   answered: its session was reset
  answer    TCP reset, 198.18.0.10:80 > 198.18.0.50:40000
  goes out  outside, to 02:00:00:00:01:50
";
        assert_eq!(render(&account), expected);
    }
}
