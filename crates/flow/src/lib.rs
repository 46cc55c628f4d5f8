//! Parse once; flow keys; the keyed symmetric hash.
