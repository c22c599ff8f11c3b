//! The parent of a container's processes: terminal, log, exit status
