//! Reload, health, netlink, operator socket.
