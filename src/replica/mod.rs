//! One whole server without its edges.
