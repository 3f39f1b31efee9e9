//! One decoder under libFuzzer: `QUORATE_DECODER` names it, the arguments are libFuzzer's.
//!
//! `tests/decoders/run` builds it with counters of what was reached, and runs every decoder.
#![no_main]
#![allow(unsafe_code)] // an allocator that counts, and the functions that libFuzzer calls

mod properties;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use properties::{DECODERS, Decoder};

/// The system's allocator, which knows the most bytes that were in use at once.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work, with the layouts that it is given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps the promises of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn take(bytes: usize) {
    let used = USED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(used, Ordering::Relaxed);
}

static DECODER: OnceLock<&Decoder> = OnceLock::new();

fn choose() {
    let name = std::env::var("QUORATE_DECODER").expect("QUORATE_DECODER names a decoder");
    let found = DECODERS.iter().find(|decoder| decoder.name == name);
    DECODER.get_or_init(|| found.unwrap_or_else(|| panic!("there is no decoder {name}")));
}

libfuzzer_sys::fuzz_target!(init: choose(), |input: &[u8]| {
    let decoder = DECODER.get().expect("it is chosen first");
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    (decoder.judge)(input);
    let most = MOST.load(Ordering::Relaxed) - before;
    let max = bytes_max(decoder.name, input.len());
    assert!(most <= max, "{most} bytes in use for an input of {}, at most {max} expected", input.len());
});

/// Memory, in bytes, that may be used while an input of this length is judged.
fn bytes_max(decoder: &str, length: usize) -> usize {
    let (fixed, each) = match decoder {
        // Room for one frame of the longest length is made before it has come, in each way that it comes.
        "frames" => (2 << 20, 64),
        // Files are read and written in pieces of 256 KiB; gzip holds up to 1,032 bytes in one.
        "snapshot" => (4 << 20, 2200),
        "log" => (1 << 20, 64),
        // Each byte is a txn of up to 256 bytes, written, read back and handed on, more than once.
        "recovery" => (4 << 20, 4096),
        "txns" => (1 << 20, 256),
        _ => (1 << 16, 64),
    };
    fixed + each * length
}
