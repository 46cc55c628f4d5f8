//! Where and with what it was measured, exactly how, and what is missing.

use super::html::Html;
use crate::results::{DeviceFacts, Fact, Results};
use crate::units;

pub(super) fn sections(html: &mut Html, results: &Results) {
    not_measured(html, results);
    generator(html, results);
    environment(html, results);
    devices(html, results);
    html.leaf("h2", "", "Profile");
    fold(html, "What was asked for, word by word", &results.profile);
}

fn not_measured(html: &mut Html, results: &Results) {
    html.leaf("h2", "", "What could not be measured here");
    if results.not_measured.is_empty() {
        html.leaf("p", "", "Nothing that the profile asks for is missing.");
        return;
    }
    html.markup("<div class=\"wide\"><table><thead><tr><th>what</th><th>why</th></tr></thead>\n<tbody>\n");
    for missing in &results.not_measured {
        html.open("tr", "");
        html.leaf("td", "", &missing.what);
        html.leaf("td", "", &missing.why);
        html.close("tr");
    }
    html.markup("</tbody></table></div>\n");
}

fn generator(html: &mut Html, results: &Results) {
    if results.generator_limits.is_empty() {
        return;
    }
    html.leaf("h2", "", "The generator's own limit");
    html.leaf(
        "p",
        "about",
        "With a wire in place of a device. A figure near it says what the generator can, not the device.",
    );
    html.markup("<div class=\"wide\"><table><thead><tr><th class=\"n\">frame bytes</th><th class=\"n\">sent and received</th>");
    html.markup("<th>how</th></tr></thead>\n<tbody>\n");
    for limit in &results.generator_limits {
        html.open("tr", "");
        html.leaf("td", "n", limit.frame_bytes.map_or_else(|| "any".to_owned(), |size| size.to_string()));
        html.leaf("td", "n big", format!("{}pps", units::short(limit.packets_per_second)));
        html.leaf("td", "", &limit.how);
        html.close("tr");
    }
    html.markup("</tbody></table></div>\n");
}

fn environment(html: &mut Html, results: &Results) {
    let environment = &results.environment;
    html.leaf("h2", "", "Environment");
    let mut facts: Vec<Fact> =
        environment.identity().into_iter().map(|(name, value)| Fact::new(name, value)).collect();
    facts.push(Fact::new("version", &environment.jeoul));
    facts.extend(environment.pinning.iter().chain(&environment.facts).cloned());
    facts_list(html, &facts);
    if !environment.topology.is_empty() {
        html.leaf("pre", "", &environment.topology);
    }
}

fn devices(html: &mut Html, results: &Results) {
    if results.devices.is_empty() {
        return;
    }
    html.leaf("h2", "", "Devices, and exactly what was run");
    results.devices.iter().for_each(|device| device_facts(html, device));
}

fn device_facts(html: &mut Html, device: &DeviceFacts) {
    html.leaf("h3", "", &device.name);
    let mut facts = vec![Fact::new("version", &device.version), Fact::new("frames", &device.driver)];
    facts.extend(device.facts.iter().cloned());
    facts_list(html, &facts);
    if !device.commands.is_empty() {
        html.leaf("pre", "", device.commands.join("\n"));
    }
    if !device.configuration.is_empty() {
        fold(html, "Configuration", &device.configuration);
    }
}

fn facts_list(html: &mut Html, facts: &[Fact]) {
    html.open("dl", "");
    for fact in facts.iter().filter(|fact| !fact.value.is_empty()) {
        html.leaf("dt", "", &fact.name);
        html.leaf("dd", "", &fact.value);
    }
    html.close("dl");
}

/// A long text, folded away.
fn fold(html: &mut Html, summary: &str, text: &str) {
    html.open("details", "");
    html.leaf("summary", "", summary);
    html.leaf("pre", "", text);
    html.close("details");
}
