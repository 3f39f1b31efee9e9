//! The client protocol, bytes to values and back.
