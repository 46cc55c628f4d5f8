//! Debian and its kin with ifupdown: the steps are lines of a file in `/etc/network/interfaces.d`.

use control::operator::RealServerFacts;

use super::linux::{Needs, Own, comment, scripts as linux_scripts, write_file};
use super::{FileName, title};

/// The script that sets up, and the one that undoes.
pub(super) fn scripts(name: &FileName, facts: &RealServerFacts, interface: Option<&str>) -> (String, String) {
    let needs = Needs::of(name, facts, interface);
    let path = format!("/etc/network/interfaces.d/jeoul-{}", name.0);
    let family = if facts.address.is_ipv4() { "inet" } else { "inet6" };
    let mut stanza =
        format!("# Added to lo by `jeoul real-server`: {}\niface lo {family} manual\n", title(facts));
    for step in &needs.steps {
        stanza += &comment(step.why, "    ");
        stanza += &format!("    up {}\n", step.up);
    }
    let own = Own {
        tests: "grep -qsE '^[[:space:]]*(source|source-directory)[[:space:]]+(/etc/network/)?interfaces\\.d' \
                /etc/network/interfaces ||\n    die \"/etc/network/interfaces does not read interfaces.d: install \
                ifupdown, or add: source /etc/network/interfaces.d/*\"\n"
            .to_owned(),
        files: write_file(&path, &stanza),
        step_files: "/etc/network/interfaces.d/jeoul-*",
        remove: format!("rm -f {path}\n"),
        nftables_conf: "/etc/nftables.conf",
    };
    linux_scripts(name, &title(facts), &needs, &own)
}
