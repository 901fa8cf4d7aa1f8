//! The server. Everything lives in `roost::server`, where it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    roost::server::main()
}
