//! Whole Ethernet frames, made by hand. Any thread; blocks.

use pnet::datalink::{self, Channel};

use crate::error::{Error, Result};
use crate::link::Endpoint;

/// Sends frames by an interface, in order, each as it is: from the destination's address on, tags and all.
pub fn send_frames(end: &Endpoint, frames: &[Vec<u8>]) -> Result<()> {
    let sending = || format!("sending frames by {}", end.interface());
    let channel = end.namespace().run(|| {
        let interface = datalink::interfaces().into_iter().find(|known| known.name == end.interface());
        let interface = interface.ok_or(std::io::ErrorKind::NotFound)?;
        datalink::channel(&interface, datalink::Config::default())
    })?;
    let Channel::Ethernet(mut sender, _received) = channel.map_err(Error::system(sending()))? else {
        return Err(Error::unusable(end.interface(), "only Ethernet frames can be sent"));
    };
    frames.iter().try_for_each(|frame| {
        let sent = sender.send_to(frame, None).unwrap_or(Err(std::io::ErrorKind::InvalidInput.into()));
        sent.map_err(Error::system(sending()))
    })
}
