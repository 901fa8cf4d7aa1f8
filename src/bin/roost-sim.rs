//! Simulated worker nodes. Everything lives in `roost::sim`, where it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    roost::sim::main()
}
