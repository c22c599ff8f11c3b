//! hako-runtime, the program; everything is in the library, where fuzz targets
//! reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    hako_runtime::main()
}
