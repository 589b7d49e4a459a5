//! The program: reads its arguments, does what they say, and says by its exit code how it ended.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    proxy::commands::run()
}
