//! A container as `docker inspect` describes it: scripts read these names.

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::options::{NetworkMode, VolumeSource};
use crate::record::{Container, Phase};
use crate::spec::{cgroup_path, hostname};

/// Docker's word for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// The container as an object with Docker's names.
    #[must_use]
    pub fn inspect(&self, c: &Container) -> Value {
        let (r, s, o) = (&c.record, &c.state, &c.record.options);
        let running = s.phase == Phase::Running;
        let (path, args) = match r.args.split_first() {
            Some((path, args)) => (path.clone(), args.to_vec()),
            None => (String::new(), Vec::new()),
        };
        let mounts: Vec<Value> = o
            .volumes
            .iter()
            .map(|v| {
                let (kind, name, source) = match &v.source {
                    VolumeSource::Path(path) => ("bind", "", path.clone()),
                    VolumeSource::Named(name) => {
                        let dir = self.store.path("volumes").join(name);
                        ("volume", name.as_str(), dir.to_string_lossy().into_owned())
                    }
                    VolumeSource::Anonymous => ("volume", "", String::new()),
                };
                json!({
                    "Type": kind,
                    "Name": name,
                    "Source": source,
                    "Destination": v.target,
                    "Mode": v.options.join(","),
                    "RW": !v.options.iter().any(|o| o == "ro" || o == "rro"),
                    "Propagation": "rprivate",
                })
            })
            .collect();
        json!({
            "Id": r.id,
            "Created": r.created,
            "Path": path,
            "Args": args,
            "State": {
                "Status": s.phase.word(),
                "Running": running,
                "Paused": false,
                "Restarting": false,
                "OOMKilled": s.oom_killed,
                "Dead": false,
                "Pid": s.pid.filter(|_| running).unwrap_or(0),
                "ExitCode": s.exit_code.unwrap_or(if s.phase == Phase::Exited { -1 } else { 0 }),
                "Error": s.error.clone().unwrap_or_default(),
                "StartedAt": s.started.as_deref().unwrap_or(NEVER),
                "FinishedAt": s.finished.as_deref().unwrap_or(NEVER),
            },
            "Image": r.image.to_string(),
            "ImageName": r.image_name,
            "ResolvConfPath": self.dir(&r.id).join("resolv.conf"),
            "HostnamePath": self.dir(&r.id).join("hostname"),
            "HostsPath": self.dir(&r.id).join("hosts"),
            "LogPath": self.dir(&r.id).join("log"),
            "Name": r.name,
            "RestartCount": 0,
            "Driver": "overlay",
            "Platform": "linux",
            "HostConfig": {
                "Binds": o.volumes.iter().filter_map(|v| match &v.source {
                    VolumeSource::Path(p) => Some(format!("{p}:{}", v.target)),
                    VolumeSource::Named(n) => Some(format!("{n}:{}", v.target)),
                    VolumeSource::Anonymous => None,
                }).collect::<Vec<_>>(),
                "LogConfig": { "Type": o.log_driver.as_deref().unwrap_or("k8s-file") },
                "NetworkMode": o.network.to_string(),
                "AutoRemove": o.auto_remove,
                "CapAdd": o.cap_add,
                "CapDrop": o.cap_drop,
                "Dns": o.dns,
                "Privileged": o.privileged,
                "ReadonlyRootfs": o.read_only,
                "ShmSize": o.shm_size.unwrap_or(64 << 20),
                "Runtime": o.runtime.as_deref().unwrap_or(&self.places.runtime),
                "Memory": o.limits.memory.unwrap_or(0),
                "NanoCpus": o.limits.milli_cpus.unwrap_or(0) * 1_000_000,
                "CpuShares": o.limits.cpu_shares.unwrap_or(0),
                "PidsLimit": o.limits.pids,
                "CgroupPath": cgroup_path(r),
                "Ulimits": o.ulimits.iter().map(|u| json!({
                    "Name": u.kind.trim_start_matches("RLIMIT_").to_ascii_lowercase(),
                    "Soft": u.soft,
                    "Hard": u.hard,
                })).collect::<Vec<_>>(),
            },
            "Mounts": mounts,
            "Config": {
                "Hostname": hostname(r),
                "User": r.user,
                "Tty": o.tty,
                "OpenStdin": o.interactive,
                "Env": r.env,
                "Cmd": r.args,
                "Image": r.image_name,
                "WorkingDir": r.cwd,
                "Entrypoint": o.entrypoint,
                "Labels": r.labels,
                "StopSignal": r.stop_signal.to_string(),
                "StopTimeout": r.stop_timeout,
                "Annotations": o.annotations,
            },
            "NetworkSettings": network(c),
        })
    }
}

fn network(c: &Container) -> Value {
    let Some(a) = &c.state.network else {
        let mode = match c.record.options.network {
            NetworkMode::Default => "default".to_owned(),
            ref other => other.to_string(),
        };
        return json!({ "IPAddress": "", "Gateway": "", "MacAddress": "", "Ports": {},
                       "Networks": { mode: {} } });
    };
    let one = json!({
        "IPAddress": a.address,
        "IPPrefixLen": a.prefix,
        "Gateway": a.gateway,
        "MacAddress": a.mac.to_string(),
    });
    let mut all = one.clone();
    if let Value::Object(all) = &mut all {
        all.insert("Ports".into(), json!({}));
        all.insert("Bridge".into(), json!(""));
        all.insert("Networks".into(), json!({ a.network.clone(): one }));
    }
    all
}
