//! What captures prove: right checksums at every end.

use lab::topology::slb_routed::SlbRouted;
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
