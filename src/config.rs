//! Server settings: as written, then checked.
