//! The program is the library's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    perch::cli::main()
}
