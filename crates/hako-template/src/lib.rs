//! Go templates over JSON values, for --format
