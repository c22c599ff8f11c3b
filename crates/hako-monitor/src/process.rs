//! What `/proc` says of one process (proc_pid_stat(5)).

use crate::error::{Error, Result, errno};

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `Z` for one that has ended and is not reaped.
    pub(crate) state: char,
    /// Ticks since boot.
    pub(crate) start_time: u64,
    /// Wait status, of a process that has ended; 0 without the right to know.
    pub(crate) exit_code: i32,
}

impl Stat {
    /// `None` when there is no such process.
    pub(crate) fn read(pid: i32) -> Result<Option<Self>> {
        let path = format!("/proc/{pid}/stat");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            // ESRCH: it went while being read.
            Err(e) if e.raw_os_error() == Some(3) => Ok(None),
            Err(e) => Err(Error::path("read", path)(errno(&e))),
        }
    }

    /// The name, in parentheses, may contain anything; the last one ends it.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of these is field 3.
        let field = |number: usize| fields.get(number - 3);
        Some(Self {
            state: field(3)?.chars().next()?,
            start_time: field(22)?.parse().ok()?,
            exit_code: field(52).and_then(|f| f.parse().ok()).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_itself_and_strange_names() {
        let me = i32::try_from(std::process::id()).unwrap();
        let stat = Stat::read(me).unwrap().unwrap();
        assert!(stat.start_time > 0);
        assert_eq!(Stat::read(i32::MAX).unwrap(), None);
        let text = "7 (a) Z 1 (b) R) Z 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0 1 1 1 \
                    0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 1792";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            (stat.state, stat.start_time, stat.exit_code),
            ('Z', 4242, 1792)
        );
        assert_eq!(Stat::parse("junk"), None);
    }

    #[test]
    fn a_zombie_tells_its_code() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "exit 9"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = std::time::Instant::now();
        loop {
            let stat = Stat::read(pid).unwrap().unwrap();
            if stat.state == 'Z' {
                assert_eq!(stat.exit_code, 9 << 8);
                break;
            }
            assert!(start.elapsed().as_secs() < 5);
        }
        child.wait().unwrap();
    }
}
