//! What fsck.erofs says. Older ones than 1.7 know no blocks of 512 bytes, and
//! before 1.8.8 the superblock's checksum was wrong for them; 1.9.3 is the one
//! that this was tried with. Debian 12 has 1.5 and Debian 13 has 1.8: with the
//! system's program this is a further judge where it can be one (the kernel is
//! in any case), and `HAKO_FSCK_EROFS` names another program.

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
    (version >= (1, 9)).then_some(program)
}

/// Without it, nothing but the kernel and our reader has seen the images.
#[test]
#[ignore = "needs fsck.erofs 1.9 or newer, which Debian 12 and 13 do not have"]
fn there_is_a_program_that_knows_such_images() {
    assert!(program().is_some());
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
