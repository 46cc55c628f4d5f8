//! What captures prove: right checksums at every end, and a kernel that stays silent about the virtual addresses.

use lab::topology::slb_routed::{SlbRouted, VIP_V4, VIP_V6};
use lab::{Capture, Direction};

use super::super::Stopped;
use super::super::report::Report;

/// Captures at the client and at every server.
pub(super) struct Wire(Vec<(String, Capture)>);

impl Wire {
    /// From here on.
    pub(super) fn watch(lab: &SlbRouted) -> Result<Self, Stopped> {
        let mut captures =
            vec![("client".into(), Capture::start(&lab.client, "wire-client", Direction::Both)?)];
        for server in &lab.servers {
            let capture = Capture::start(&server.end, &format!("wire-{}", server.name), Direction::Both)?;
            captures.push((server.name.clone(), capture));
        }
        Ok(Self(captures))
    }

    /// Ends the captures and verifies every checksum of every frame.
    pub(super) fn judge(self, report: &mut Report) -> Result<(), Stopped> {
        for (place, capture) in self.0 {
            let captured = capture.stop()?;
            let lost = captured.dropped_by_kernel;
            report.expect_or(lost == 0, format!("{place}: the capture is complete"), format!("{lost} lost"));
            let frames = captured.frames.len();
            let what = format!("{place}: all checksums of {frames} captured frames are right");
            match captured.verify_checksums() {
                Ok(_) => report.expect(true, what),
                Err(wrong) => {
                    let first = wrong.first().map_or_else(
                        || "no frame".into(),
                        |first| {
                            format!(
                                "{} are wrong, the first is frame {}: {:?}",
                                wrong.len(),
                                first.index,
                                first.fault
                            )
                        },
                    );
                    report.expect_or(false, what, first);
                }
            }
        }
        Ok(())
    }
}

/// What the kernel of the appliance's namespace sends by its two ports. The appliance's own frames bypass the place
/// where such a capture listens, with both drivers.
pub(super) struct Kernel(Vec<Capture>);

impl Kernel {
    /// From here on.
    pub(super) fn watch(lab: &SlbRouted) -> Result<Self, Stopped> {
        let start = |end, name| Capture::start(end, name, Direction::Out);
        Ok(Self(vec![start(&lab.outside, "kernel-outside")?, start(&lab.inside, "kernel-inside")?]))
    }

    /// Ends the captures. That they saw the kernel's other frames shows that they could see.
    pub(super) fn judge(self, report: &mut Report) -> Result<(), Stopped> {
        let (mut others, mut for_vip, mut lost) = (0, Vec::new(), 0);
        for capture in self.0 {
            let captured = capture.stop()?;
            lost += captured.dropped_by_kernel;
            for packet in captured.packets() {
                match packet.involves(VIP_V4) || packet.involves(VIP_V6) {
                    true => for_vip.push(packet),
                    false => others += 1,
                }
            }
        }
        let what = format!(
            "the appliance's kernel sent {others} frames of its own (ARP, ND, health checks), none for a VIP"
        );
        let seen = match for_vip.first() {
            Some(first) => format!("{} were, the first is {first:?}", for_vip.len()),
            None => format!("{lost} frames were not captured"),
        };
        report.expect_or(for_vip.is_empty() && others > 0 && lost == 0, what, seen);
        Ok(())
    }
}
