//! The program: reads its arguments, does what they say, and says by its exit code how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    proxy::commands::run()
}
