//! Apply a layer to a directory: whiteouts, xattrs, ids, and no way out of the root
