//! Names that nobody can guess, for things that are not finished yet.

use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits as 32 hexadecimal digits.
///
/// Errors: those of getrandom(2), which a running Linux does not give.
pub fn name() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    let mut have = 0;
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(n) => have += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(hex(&bytes))
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_differ() {
        let (a, b) = (super::name().unwrap(), super::name().unwrap());
        assert_eq!(a.len(), 32);
        assert_ne!(a, b);
    }
}
