//! What fsck.erofs says. It knows blocks of 512 bytes from version 1.6 on, which
//! Debian has from 13 on; `HAKO_FSCK_EROFS` names another one than the system's.

use std::process::Command;

use crate::built::Built;

fn program() -> Option<String> {
    let program = std::env::var("HAKO_FSCK_EROFS").unwrap_or("fsck.erofs".to_owned());
    let output = Command::new(&program).arg("-V").output();
    let output = output.expect("this test needs fsck.erofs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let mut words = text.split_whitespace();
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    (version >= (1, 6)).then_some(program)
}

/// Checks an image, if the system's program knows such images.
#[track_caller]
pub(crate) fn check(built: &Built) {
    let Some(program) = program() else { return };
    let output = Command::new(program)
        .arg(format!("--device={}", built.data.display()))
        .arg("--extract")
        .arg(&built.image)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !text.contains("<E>"), "{text}");
}
