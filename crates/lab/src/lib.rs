//! Testbeds as a library: namespaces, veth pairs, peers, traffic.
