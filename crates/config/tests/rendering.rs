//! How findings look to a person, and what they never show.

use config::parse;

/// All findings as a compiler would show them.
fn rendered(text: &str) -> String {
    let findings = parse(text, "lb.toml").diagnostics;
    findings.iter().map(|found| found.render() + "\n").collect::<Vec<_>>().join("\n")
}

#[test]
fn all_errors_of_a_file_in_one_pass_each_with_its_line_and_a_caret() {
    let text = "[appliance]
pollling = \"busy\"      # 저울
[[port]]
\tname = \"저울\", interface = \"eth1\"
[[service]]
name = \"a\" \r
scheduler = \"bandwith\"
[timeouts]
udp = \"5 \u{9}minutes\" # \u{2066}
tcp_closing = '''
1''' # a value of two lines is shown by its first
";
    let expected = r#"error[E0101]: unknown key "pollling" in `appliance`
 --> lb.toml:2:1
  |
2 | pollling = "busy"      # 저울
  | ^^^^^^^^
  |
  = help: did you mean `polling`?

error[E0100]: not TOML: unexpected key or value, expected newline, `#`
 --> lb.toml:4:13
  |
4 |     name = "저울", interface = "eth1"
  |                  ^

error[E0104]: unknown scheduler "bandwith"
 --> lb.toml:7:13
  |
7 | scheduler = "bandwith"
  |             ^^^^^^^^^^
  |
  = help: did you mean "bandwidth"?

error[E0105]: "5 \tminutes" is not a duration
 --> lb.toml:9:7
  |
9 | udp = "5     minutes" # �
  |       ^^^^^^^^^^^^^^^
  |
  = help: write a duration as "300ms", "3s", "5m" or "2h4m"

error[E0105]: "1" is not a duration
  --> lb.toml:10:15
   |
10 | tcp_closing = '''
   |               ^^^
   |
   = help: write a duration as "300ms", "3s", "5m" or "2h4m"
"#;
    assert_eq!(rendered(text), expected);
}

#[test]
fn a_warning_looks_like_one() {
    let text = "[[port]]\nname = \"p\"\ninterface = \"e\"\n[[health_check]]\nname = \"c\"\nkind = \"tcp\"";
    let expected = r#"warning[W0304]: nothing uses health check "c"
 --> lb.toml:5:8
  |
5 | name = "c"
  |        ^^^
  |
  = help: name it in `health_check` of a service or a firewall group, or remove it
"#;
    assert_eq!(rendered(text), expected);
}

#[test]
fn a_finding_points_at_one_item_of_a_list() {
    let text = "[[port]]\nname = \"p\"\ninterface = \"e\"\n[[outbound]]\nname = \"o\"
networks = [\"198.18.1.0/24\", \"198.18.2.9/24\"]\nsource_addresses = [\"198.18.0.9\"]";
    let expected = r#"error[E0105]: 198.18.2.9/24 is an address in a network
 --> lb.toml:6:30
  |
6 | networks = ["198.18.1.0/24", "198.18.2.9/24"]
  |                              ^^^^^^^^^^^^^^^
  |
  = help: write "198.18.2.0/24"
"#;
    assert_eq!(rendered(text), expected);
}

#[test]
fn a_finding_points_into_a_table_in_braces() {
    let text = "[[port]]\nname = \"p\"\ninterface = \"e\"\n[[service]]\nname = \"s\"\naddress = \"198.18.0.10\"
mode = \"routed\"\npersistence = { prefix_length = 33, timeout = \"5m\" }\n[[service.server]]\naddress = \"198.18.1.11\"";
    let expected = r#"error[E0106]: `prefix_length` is out of range: 33
 --> lb.toml:8:33
  |
8 | persistence = { prefix_length = 33, timeout = "5m" }
  |                                 ^^
  |
  = help: from 1 to 32
"#;
    assert_eq!(rendered(text), expected);
}

#[test]
fn the_hash_key_is_never_shown() {
    // Digits that no message, line number or code holds.
    const KEY: &str = "facadefacadefacadefacadefacadefa";
    for lines in [
        "[appliance]\nhash_key = \"KEY7\"",
        "[appliance]\nhash_key = KEY",
        "[appliance]\nhash_key = \"KEY",
        "[appliance]\nhash_key = \"KEY\\q\"",
        "[appliance]\nhash_key = [\"KEY\"]",
        "[appliance]\nhash_key = [\n  \"KEY\" 3\n]",
        "[appliance]\nhash_key = \"\"\"\nKEY\\q\"\"\"",
        "[appliance]\nhash_key = \"KEY\"\nhash_key = \"KEY\"",
        "[appliance]\nhsh_kye = \"KEY\"",
        "[appliance]\nkey = \"KEY\"",
        "[appliance]\n\"hash\\u005fkey\" = \"KEY\" 3",
        "[appliance]\nhash_key \"KEY\"",
        "[[appliance]]\nhash_key = \"KEY\" oops",
        "[timeouts]\nhash_key = \"KEY\"",
        "appliance.hash_key = \"KEYg\"\nappliance.workers = 3",
        "appliance = { hash_key = \"KEY\", workers = 3 }",
        "appliance = { workers = 3, hash_key = \"KEY\" }",
    ] {
        // A key that is cut short is as secret as a whole one.
        for key in [KEY, &KEY[..12]] {
            let text = lines.replace("KEY", key);
            let outcome = parse(&text, "lb.toml");
            assert!(!outcome.diagnostics.is_empty());
            let misspelt = !text.contains("hash");
            for found in &outcome.diagnostics {
                let shown = format!("{}\n{found}\n{found:?}", found.render());
                assert!(!shown.contains("facade") || (misspelt && key != KEY), "{shown}");
            }
        }
        let valid = format!(
            "{}\n[[port]]\nname = \"p\"\ninterface = \"e\"",
            "[appliance]\nhash_key = \"KEY\"".replace("KEY", KEY)
        );
        assert!(!format!("{:?}", parse(&valid, "lb.toml").config.expect("valid")).contains("facade"));
    }
}
