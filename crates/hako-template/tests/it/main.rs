//! Go's documented behaviour, template by template.

#[cfg(test)]
mod format;
#[cfg(test)]
mod go;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod printf;
#[cfg(test)]
mod support;

#[cfg(test)]
use support::{data, fails, refused, renders};
