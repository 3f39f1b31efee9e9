//! Sessions: open, touch, expire, move, close.
