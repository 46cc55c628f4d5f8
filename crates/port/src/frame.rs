//! One lent frame: bytes in the middle of a buffer, with room on both sides.

/// A frame lent by a port, with its head and tail room.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    start: usize,
    length: usize,
}

/// The buffer has less room than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomError {
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes there were.
    pub available: usize,
}

impl std::fmt::Display for RoomError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of room wanted, {} there", self.wanted, self.available)
    }
}

impl std::error::Error for RoomError {}

impl<'a> Frame<'a> {
    /// A frame of `length` bytes at `start` of `buffer`; `None` when it does not lie inside the buffer, or when the
    /// buffer is longer than a [`crate::Verdict`] can name.
    pub fn new(buffer: &'a mut [u8], start: usize, length: usize) -> Option<Self> {
        let end = start.checked_add(length)?;
        (end <= buffer.len() && buffer.len() <= usize::from(u16::MAX)).then_some(Self {
            buffer,
            start,
            length,
        })
    }

    /// Offset of the first byte in the buffer.
    #[inline]
    pub fn start(&self) -> u16 {
        self.start as u16
    }

    /// Length in bytes.
    #[inline]
    pub fn length(&self) -> u16 {
        self.length as u16
    }

    /// The bytes of the frame.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.length]
    }

    /// The bytes of the frame, to be rewritten in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.length]
    }

    /// Grows the frame by `count` bytes in front, whose content is whatever the buffer held.
    pub fn prepend(&mut self, count: usize) -> Result<(), RoomError> {
        if count > self.start {
            return Err(RoomError { wanted: count, available: self.start });
        }
        self.start -= count;
        self.length += count;
        Ok(())
    }

    /// Takes `count` bytes off the front.
    pub fn trim_front(&mut self, count: usize) -> Result<(), RoomError> {
        if count > self.length {
            return Err(RoomError { wanted: count, available: self.length });
        }
        self.start += count;
        self.length -= count;
        Ok(())
    }

    /// Sets the length, shorter or longer; new bytes hold whatever the buffer held.
    pub fn set_length(&mut self, length: usize) -> Result<(), RoomError> {
        let available = self.buffer.len() - self.start;
        if length > available {
            return Err(RoomError { wanted: length, available });
        }
        self.length = length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_outside_its_buffer_is_refused() {
        assert!(Frame::new(&mut [0; 10], 5, 6).is_none());
        assert!(Frame::new(&mut [0; 10], usize::MAX, 2).is_none());
        assert!(Frame::new(&mut [0; 10], 5, 5).is_some());
    }

    #[test]
    fn room_is_bounded_on_both_sides() {
        let mut buffer = [0u8; 10];
        let mut frame = Frame::new(&mut buffer, 4, 4).unwrap();
        assert_eq!(frame.prepend(5), Err(RoomError { wanted: 5, available: 4 }));
        frame.prepend(4).unwrap();
        assert_eq!(frame.bytes().len(), 8);
        assert_eq!(frame.set_length(11), Err(RoomError { wanted: 11, available: 10 }));
        frame.trim_front(8).unwrap();
        assert_eq!(frame.trim_front(1), Err(RoomError { wanted: 1, available: 0 }));
        frame.set_length(2).unwrap();
        assert_eq!((frame.start(), frame.length()), (8, 2));
    }
}
