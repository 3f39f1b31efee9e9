//! Arguments and the exit code; everything else is the library's.

use std::process::ExitCode;

/// Writes are made of many small allocations of several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::cli::main()
}
