//! OCI runtime: bundle to process, with runc's command line

fn main() {}
