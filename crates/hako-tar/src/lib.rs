//! Byte-exact tar reader and writer; gzip and zstd codecs
