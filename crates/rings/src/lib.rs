//! AF_XDP and AF_PACKET as ports; the steering program.
