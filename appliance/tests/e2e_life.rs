//! How the appliance starts, refuses to start, ends and dies, and what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use e2e::{FAMILIES, PATIENCE, Stage, on_both_drivers, wait_for};
use lab::Signal;
use lab::topology::slb_routed::HTTP_PORT;

on_both_drivers! {
    killed_outright_it_leaves_the_kernel_in_charge_and_starts_again_at_once,
    a_second_instance_is_refused_and_does_not_disturb_the_first,
    told_to_end_it_ends_with_zero_and_puts_the_offloads_back,
    only_the_owner_may_use_its_socket,
    a_start_that_cannot_be_right_is_refused_with_the_place_in_the_file,
}

/// "on" or "off" for generic receive offload of the appliance's port to the clients.
fn receive_offload(stage: &Stage) -> String {
    let output = stage.in_appliance("ethtool", &["-k", "outside"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("generic-receive-offload: "));
    line.unwrap().split(' ').next().unwrap().to_owned()
}

/// What `ip` says of the port's programs.
fn has_xdp(stage: &Stage) -> bool {
    let output = stage.in_appliance("ip", &["-d", "link", "show", "outside"]);
    String::from_utf8_lossy(&output.stdout).contains("xdp")
}

fn killed_outright_it_leaves_the_kernel_in_charge_and_starts_again_at_once(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let services = stage.web_services();
    let appliance = stage.start(&services);
    assert_eq!(has_xdp(&stage), driver == "af_xdp");
    appliance.kill();
    wait_for("the program to be gone", || !has_xdp(&stage));
    assert!(
        fs::symlink_metadata(stage.lab.socket()).unwrap().file_type().is_socket(),
        "it could not clean up"
    );
    // The kernel answers for an address that the appliance had claimed: nothing of it is left on the port.
    for (vip, _client) in FAMILIES {
        let address = format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 });
        let words = |verb| ["address", verb, &address, "dev", "outside"].map(str::to_owned);
        let ip = |verb| {
            let words = words(verb);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert!(stage.in_appliance("ip", &words).status.success());
        };
        ip("add");
        wait_for("the kernel's answer", || stage.ping(&vip.to_string()).0);
        ip("del");
    }
    let _appliance = stage.start(&services);
    for (vip, _client) in FAMILIES {
        assert_eq!(stage.ask((vip, HTTP_PORT), 6).answered(), 6);
    }
}

fn a_second_instance_is_refused_and_does_not_disturb_the_first(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let appliance = stage.start(&stage.web_services());
    let (exit, words) = stage.refusal(&stage.text(&stage.web_services()));
    assert_eq!(exit, Some(1), "{words}");
    assert!(words.contains("another appliance") || words.contains("another program"), "{words}");
    for (vip, _client) in FAMILIES {
        assert_eq!(stage.ask((vip, HTTP_PORT), 30).answered(), 30);
    }
    assert_eq!(e2e::status(&appliance)["state"], "forwarding");
}

fn told_to_end_it_ends_with_zero_and_puts_the_offloads_back(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let gro = stage.in_appliance("ethtool", &["-K", "outside", "gro", "on"]);
    assert!(gro.status.success() && receive_offload(&stage) == "on");
    for signal in [Signal::TERM, Signal::INT] {
        let appliance = stage.start(&stage.web_services());
        assert_eq!(receive_offload(&stage), "off");
        let status = appliance.process().end_with(signal, PATIENCE).unwrap();
        assert_eq!(status.code(), Some(0), "{}", appliance.log());
        assert_eq!(receive_offload(&stage), "on");
        assert!(!has_xdp(&stage) && !stage.lab.socket().exists());
    }
}

fn only_the_owner_may_use_its_socket(driver: &str) {
    let stage = Stage::new(driver);
    let appliance = stage.start(&[]);
    let socket = fs::metadata(stage.lab.socket()).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    appliance.kill();
    let output = appliance.command(&["show", "status"]).unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "nobody is there: {words}");
    assert!(words.contains(&stage.lab.socket().display().to_string()), "{words}");
}

fn a_start_that_cannot_be_right_is_refused_with_the_place_in_the_file(driver: &str) {
    let stage = Stage::new(driver);
    let right = stage.text(&stage.web_services());
    let refuses = |text: &str, line: &str, word: &str| {
        let line = text.lines().position(|other| other == line).unwrap_or_else(|| panic!("no line {line}"));
        let place = format!("appliance.toml:{}:", line + 1);
        let (exit, words) = stage.refusal(text);
        assert_eq!(exit, Some(2), "{words}");
        assert!(words.contains(&place) && words.contains(word), "{place} and {word} in {words}");
    };
    let changed = |from: &str, to: &str| {
        assert!(right.contains(from), "{from} in {right}");
        right.replacen(from, to, 1)
    };
    let missing = "interface = \"nowhere0\"";
    refuses(&changed("interface = \"inside\"", missing), missing, "nowhere0");
    refuses(&changed("workers = [1]", "workers = [999]"), "workers = [999]", "999");
    refuses(&changed("port = 80\n", "port = 80\nprot = 1\n"), "prot = 1", "port");
    let held = stage.in_appliance("ip", &["address", "add", "198.18.0.10/32", "dev", "outside"]);
    assert!(held.status.success());
    refuses(&right, "address = \"198.18.0.10\"", "address of the kernel");
    assert!(!has_xdp(&stage), "nothing was started");
}
