//! proc_pid_mountinfo(5).

/// One mount.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mount<'a> {
    /// `shared:1`, `master:2`, `unbindable`.
    pub(super) propagation: Vec<&'a str>,
    /// The file system's type.
    pub(super) kind: &'a str,
}

/// What was mounted last at `place`.
pub(super) fn at<'a>(text: &'a str, place: &str) -> Option<Mount<'a>> {
    let line = text
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(place))?;
    let (front, back) = line.split_once(" - ")?;
    Some(Mount {
        propagation: front.split(' ').skip(6).collect(),
        kind: back.split(' ').next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "1 0 0:1 / / rw,relatime - ext4 /dev/vda rw\n\
            2 1 0:2 / /a rw shared:3 master:4 - tmpfs x rw\n\
            3 1 0:2 / /a rw unbindable - proc x rw\n";
        assert_eq!(at(text, "/").unwrap().kind, "ext4");
        assert_eq!(at(text, "/").unwrap().propagation, [""; 0]);
        assert_eq!(at(text, "/a").unwrap().propagation, ["unbindable"]);
        assert_eq!(at(text, "/b"), None);
    }
}
