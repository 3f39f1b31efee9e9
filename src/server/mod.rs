//! Puts a replica between the edges.
