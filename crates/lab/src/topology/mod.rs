//! The labs that have a name.

pub mod slb_groups;
pub mod slb_routed;
