//! The shim as a program of its own, for tests; users get it as `kapell shim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kapell_shim::main(std::env::args_os().skip(1))
}
