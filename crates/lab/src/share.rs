//! How much of a client's traffic crosses the appliance: all of it where replies come back through it, little
//! where servers answer directly.
//!
//! By the interfaces' own counters, so nothing has to be captured. Any thread.

use crate::error::Result;
use crate::link::Endpoint;

/// A watch that has begun; see the module.
#[derive(Debug)]
pub struct ByteShare {
    client: Endpoint,
    ports: Vec<Endpoint>,
    before: Share,
}

/// Bytes of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Received by the appliance on all its ports. That includes its own health checks' answers.
    pub crossed_bytes: u64,
    /// Sent and received by the client.
    pub all_bytes: u64,
}

impl ByteShare {
    /// Begins to watch a client and all ports of the appliance.
    pub fn watch(client: &Endpoint, ports: &[Endpoint]) -> Result<Self> {
        let mut watch = Self { client: client.clone(), ports: ports.into(), before: Share::default() };
        watch.before = watch.now()?;
        Ok(watch)
    }

    /// What has come together since.
    pub fn so_far(&self) -> Result<Share> {
        let now = self.now()?;
        Ok(Share {
            crossed_bytes: now.crossed_bytes.saturating_sub(self.before.crossed_bytes),
            all_bytes: now.all_bytes.saturating_sub(self.before.all_bytes),
        })
    }

    fn now(&self) -> Result<Share> {
        let client = self.client.counters()?;
        let mut share = Share { crossed_bytes: 0, all_bytes: client.received_bytes + client.sent_bytes };
        for port in &self.ports {
            share.crossed_bytes += port.counters()?.received_bytes;
        }
        Ok(share)
    }
}

impl Share {
    /// What crossed the appliance, of a hundred bytes of the client's. A little more than 100 where frames
    /// grow on their way (tags, tunnels) or health checks add to them.
    pub fn percent(&self) -> f64 {
        self.crossed_bytes as f64 * 100.0 / self.all_bytes.max(1) as f64
    }
}
