//! Arguments and tools.
