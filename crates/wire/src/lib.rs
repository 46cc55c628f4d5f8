//! Header views and checksum arithmetic.
