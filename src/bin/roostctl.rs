//! The admin command line. Everything lives in `roost::ctl`, where it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    roost::ctl::main()
}
