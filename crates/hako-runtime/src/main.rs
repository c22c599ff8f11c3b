//! hako-runtime, the program; everything is in the library, where fuzz targets
//! reach it.
#![cfg_attr(not(test), no_main)]

#[cfg(not(test))]
hako_sys::program!(hako_runtime::main);
