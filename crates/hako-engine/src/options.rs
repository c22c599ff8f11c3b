//! What a user asks of a new container, parsed once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Everything that `run` and `create` take.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Create {
    /// The container's name; chosen when none.
    pub name: Option<String>,
    /// Command and arguments, in place of the image's.
    pub command: Vec<String>,
    /// In place of the image's entrypoint; empty: none at all.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE`, over the image's.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// Groups besides.
    pub group_add: Vec<String>,
    /// Host name; the start of the id when none.
    pub hostname: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// Rows and columns of that terminal at the start.
    pub console_size: Option<(u16, u16)>,
    /// Standard input stays open.
    pub interactive: bool,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// How it is connected.
    pub network: NetworkMode,
    /// Bind mounts and volumes.
    pub volumes: Vec<Volume>,
    /// `path[:options]` of tmpfs mounts.
    pub tmpfs: Vec<String>,
    /// Labels, over the image's.
    pub labels: BTreeMap<String, String>,
    /// Capabilities besides the default ones (`NET_ADMIN`, `ALL`).
    pub cap_add: Vec<String>,
    /// Capabilities to leave out.
    pub cap_drop: Vec<String>,
    /// All capabilities and devices, no filter, no masks.
    pub privileged: bool,
    /// Set no_new_privs.
    pub no_new_privileges: bool,
    /// A seccomp profile: `unconfined`, or the path of a JSON file.
    pub seccomp: Option<String>,
    /// Limits of resources.
    pub limits: Limits,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of `/dev/shm`; 64 MiB when none.
    pub shm_size: Option<u64>,
    /// Signal that `stop` sends; the image's or TERM when none.
    pub stop_signal: Option<String>,
    /// Seconds that `stop` waits; the image's or 10 when none.
    pub stop_timeout: Option<u32>,
    /// `host:address` lines for `/etc/hosts`.
    pub add_host: Vec<(String, IpAddr)>,
    /// Name servers in place of the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains in place of the host's.
    pub dns_search: Vec<String>,
    /// `options` of resolv.conf in place of the host's.
    pub dns_options: Vec<String>,
    /// Runtime by name or path.
    pub runtime: Option<String>,
    /// Parent cgroup.
    pub cgroup_parent: Option<String>,
    /// Annotations of the runtime configuration.
    pub annotations: BTreeMap<String, String>,
    /// Log driver: `k8s-file`, `json-file` or `none`.
    pub log_driver: Option<String>,
}

/// Limits of resources; none: not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a CPU.
    pub milli_cpus: Option<u64>,
    /// Relative share of CPU time (1024 is normal).
    pub cpu_shares: Option<u64>,
    /// Number of processes.
    pub pids: Option<i64>,
}

/// How a container is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A bridge with addresses of its own; for an unprivileged user, pasta.
    #[default]
    Default,
    /// A bridge with addresses of its own.
    Bridge,
    /// A loopback interface alone.
    None,
    /// The host's network.
    Host,
    /// User-mode networking by pasta(1).
    Pasta,
}

impl FromStr for NetworkMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "default" => NetworkMode::Default,
            "bridge" => NetworkMode::Bridge,
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            "pasta" => NetworkMode::Pasta,
            _ => {
                return Err(Error::invalid(
                    "network",
                    text,
                    "it is none of bridge, none, host and pasta",
                ));
            }
        })
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NetworkMode::Default => "default",
            NetworkMode::Bridge => "bridge",
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
            NetworkMode::Pasta => "pasta",
        })
    }
}

/// `-v`: something of the host, or a volume, at a path of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where, an absolute path.
    pub target: String,
    /// Mount options, such as `ro` or `rprivate`.
    pub options: Vec<String>,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeSource {
    /// An absolute path of the host.
    Path(String),
    /// A named volume, made when it is not there.
    Named(String),
    /// A volume of this container alone.
    Anonymous,
}

/// Words that may follow the second colon of `-v`.
const VOLUME_OPTIONS: &[&str] = &[
    "ro", "rw", "rro", "private", "rprivate", "slave", "rslave", "bind", "rbind", "nosuid", "suid",
    "nodev", "dev", "noexec", "exec",
];

impl FromStr for Volume {
    type Err = Error;

    /// `[SOURCE:]TARGET[:OPTIONS]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::invalid("volume", text, why);
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            _ => return Err(wrong("it has more than two colons")),
        };
        if !target.starts_with('/') || target.trim_matches('/').is_empty() {
            return Err(wrong("the target is not an absolute path below /"));
        }
        let source = match source {
            None => VolumeSource::Anonymous,
            Some("") => return Err(wrong("the source is empty")),
            Some(path) if path.starts_with('/') => VolumeSource::Path(path.to_owned()),
            Some(path) if path.starts_with('.') => {
                let path = std::path::absolute(path).map_err(|e| wrong(&e.to_string()))?;
                let path = path
                    .to_str()
                    .ok_or_else(|| wrong("the source is not UTF-8"))?;
                VolumeSource::Path(path.to_owned())
            }
            Some(name) => {
                let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
                if !name.bytes().all(good)
                    || !name
                        .as_bytes()
                        .first()
                        .is_some_and(u8::is_ascii_alphanumeric)
                {
                    return Err(wrong(
                        "the source is neither an absolute path nor a volume's name",
                    ));
                }
                VolumeSource::Named(name.to_owned())
            }
        };
        let options: Vec<String> = options
            .split(',')
            .filter(|o| !o.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(unknown) = options
            .iter()
            .find(|o| !VOLUME_OPTIONS.contains(&o.as_str()))
        {
            let why = match unknown.as_str() {
                "shared" | "rshared" => "mounts cannot propagate out of the container",
                "z" | "Z" => "SELinux labels are not supported",
                "U" => "changing owners is not supported",
                _ => "unknown option",
            };
            return Err(wrong(&format!("{unknown}: {why}")));
        }
        Ok(Volume {
            source,
            target: target.to_owned(),
            options,
        })
    }
}

/// `--ulimit NAME=SOFT[:HARD]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `RLIMIT_NOFILE` and so on.
    pub kind: String,
    /// Soft limit; the largest number: none.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

impl FromStr for Ulimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::invalid("ulimit", text, why);
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("it is not NAME=SOFT[:HARD]"))?;
        let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
        if !hako_spec::runtime::validate::RLIMITS.contains(&kind.as_str()) {
            return Err(wrong("no such limit"));
        }
        let number = |n: &str| match n {
            "-1" | "unlimited" => Ok(u64::MAX),
            n => n.parse().map_err(|_| wrong("not a number")),
        };
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(wrong("the soft limit is above the hard one"));
        }
        Ok(Ulimit { kind, soft, hard })
    }
}

/// Bytes with a unit: `512`, `64k`, `100m`, `2g` (powers of 1024), also `2gb`,
/// `2GiB`.
pub fn parse_bytes(text: &str) -> Result<u64, Error> {
    let wrong = || {
        Error::invalid(
            "size",
            text,
            "it is not a number with an optional unit b, k, m, g or t",
        )
    };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let factor: u64 = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * factor as f64;
    if (0.0..9e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(wrong())
    }
}

/// CPUs as a decimal number, in thousandths.
pub fn parse_cpus(text: &str) -> Result<u64, Error> {
    let wrong = || Error::invalid("number of CPUs", text, "it is not a number above 0.001");
    let cpus: f64 = text.parse().map_err(|_| wrong())?;
    if cpus.is_finite() && (0.001..1e6).contains(&cpus) {
        return Ok((cpus * 1000.0).round() as u64);
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let v: Volume = "/a:/b:ro,nosuid".parse().unwrap();
        assert_eq!(v.source, VolumeSource::Path("/a".into()));
        assert_eq!((v.target.as_str(), v.options.len()), ("/b", 2));
        assert_eq!(
            "data:/b".parse::<Volume>().unwrap().source,
            VolumeSource::Named("data".into())
        );
        assert_eq!(
            "/b".parse::<Volume>().unwrap().source,
            VolumeSource::Anonymous
        );
        for bad in [
            "",
            "a",
            "/",
            "a:b",
            "/a:/b:shared",
            "/a:/b:c:d",
            ":/b",
            "a/b:/c",
            "/a:/b:z",
        ] {
            assert!(bad.parse::<Volume>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, n) in [
            ("1", 1),
            ("2k", 2048),
            ("1.5m", 1_572_864),
            ("1GiB", 1 << 30),
            ("3gb", 3 << 30),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), n, "{text}");
        }
        for bad in ["", "k", "-1", "1x", "99999999999999999999g", "1.2.3k"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_cpus("1.5").unwrap(), 1500);
        assert!(parse_cpus("0").is_err() && parse_cpus("nan").is_err());
    }

    #[test]
    fn ulimits() {
        let u: Ulimit = "nofile=1024:2048".parse().unwrap();
        assert_eq!(
            (u.kind.as_str(), u.soft, u.hard),
            ("RLIMIT_NOFILE", 1024, 2048)
        );
        assert_eq!("core=-1".parse::<Ulimit>().unwrap().soft, u64::MAX);
        for bad in ["nofile", "x=1", "nofile=2:1", "nofile=a"] {
            assert!(bad.parse::<Ulimit>().is_err(), "{bad}");
        }
    }
}
