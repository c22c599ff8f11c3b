//! Systemd makes the cgroup: the container is a scope, a unit around processes
//! that somebody else has started (systemd.scope(5), and "The New Control Group
//! Interfaces" of systemd's documentation).
//!
//! Systemd moves an existing process, so the container's waits until it is in
//! its place. What systemd has no property for is written to the files of the
//! cgroup, which `Delegate=` makes ours.
//!
//! Invariant: no call waits longer than half a minute.

mod address;
mod annotation;
mod connection;
mod device;
mod error;
#[cfg(test)]
mod fake;
mod message;
mod name;
mod place;
mod property;
mod value;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use hako_spec::runtime::Resources;

use crate::cgroup::Cgroup;
use crate::create::Devices;
use crate::error::{Error, Result};
use crate::host::{Host, Mode};
use crate::path::CgroupPath;

use connection::{Connection, PATIENCE};
use property::{Dialect, List};
use wire::Writer;

pub use error::BusError;
pub use message::{Kind, Message};
pub use name::Unit;
pub use value::{Property, Value};

/// How often a unit of the same name that is about to go is waited for, and for
/// how long each time.
const RETRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What a scope is made with.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Its name and slice.
    pub unit: &'a Unit,
    /// The process that is to be in it.
    pub pid: u32,
    /// A few words for people.
    pub description: &'a str,
    /// Limits.
    pub resources: &'a Resources,
    /// Whether systemd is told which devices may be used.
    pub devices: Devices,
    /// Annotations of the configuration, some of which are properties.
    pub annotations: &'a BTreeMap<String, String>,
}

/// A connection to the systemd of the system, or of a user.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    dialect: Dialect,
    /// The cgroup of systemd itself, below which its units are; empty for the root.
    root: String,
}

impl Manager {
    /// Connects to systemd: that of the system, or the calling user's own.
    ///
    /// Errors: [`Error::NoSystemd`] tells every socket that was tried.
    pub fn connect(host: &Host, user: bool) -> Result<Self> {
        let unified = host.mode() == Some(Mode::V2);
        if user && !unified {
            return Err(Error::invalid(
                "a user's systemd",
                "has no cgroups of its own where there is cgroup v1",
            ));
        }
        let variable = |name: &str| std::env::var(name).ok();
        let candidates = address::candidates(user, variable);
        Self::first(candidates, unified, PATIENCE)
    }

    fn first(
        candidates: Vec<Result<address::Address, BusError>>,
        unified: bool,
        patience: Duration,
    ) -> Result<Self> {
        let mut tried = Vec::new();
        for candidate in candidates {
            match candidate {
                Ok(address) => match Self::open(&address, unified, patience) {
                    Ok(manager) => return Ok(manager),
                    Err(e) => tried.push(format!("{} ({})", address.socket, e.sentence())),
                },
                Err(e) => tried.push(e.sentence()),
            }
        }
        if tried.is_empty() {
            tried.push("neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set".to_owned());
        }
        Err(Error::NoSystemd {
            tried: tried.join(", "),
        })
    }

    fn open(
        address: &address::Address,
        unified: bool,
        patience: Duration,
    ) -> Result<Self, BusError> {
        let mut connection = Connection::open(address, patience)?;
        let version = version(&connection.property("Version")?);
        let version = version.ok_or(BusError::Malformed("systemd's version is no number"))?;
        let root = connection.property("ControlGroup")?;
        Ok(Self {
            connection,
            dialect: Dialect { unified, version },
            root: root.trim_end_matches('/').to_owned(),
        })
    }

    /// Where the cgroup of a unit is.
    pub fn path(&self, unit: &Unit) -> Result<CgroupPath> {
        CgroupPath::parse(&format!("{}{}", self.root, unit.cgroup()))
    }

    /// Makes the scope and waits until the process is in it. A unit of that
    /// name that has failed, or that is about to go, makes room.
    pub fn start(&mut self, scope: &Scope<'_>) -> Result<()> {
        let name = scope.unit.name();
        let properties = self.properties(scope)?;
        let mut body = Writer::default();
        body.string(name);
        body.string("fail");
        value::properties(&mut body, &properties);
        // No further units.
        body.array(8, |_| {});
        let action = || format!("start {name}");
        let mut tries = 0;
        let reply = loop {
            let reply =
                self.connection
                    .manage("StartTransientUnit", "ssa(sv)a(sa(sv))", &body.bytes);
            match reply {
                Err(e) if e.is(".UnitExists") && tries < RETRIES => {
                    self.reset(name);
                    std::thread::sleep(PAUSE);
                    tries += 1;
                }
                other => break other.map_err(failed(action))?,
            }
        };
        let job = reply.object().map_err(failed(action))?.to_owned();
        let done = self.connection.wait_for(&job);
        if done.is_err() {
            self.reset(name);
        }
        done.map_err(failed(action))
    }

    fn properties(&self, scope: &Scope<'_>) -> Result<Vec<Property>> {
        let mut list = List::default();
        let text = |text: &str| Value::String(text.to_owned());
        list.put("Description", text(scope.description));
        list.put("Slice", text(scope.unit.slice()));
        list.put("PIDs", Value::Numbers(vec![scope.pid]));
        list.put("Delegate", Value::Bool(true));
        list.put("DefaultDependencies", Value::Bool(false));
        let io = match self.dialect.unified {
            true => "IOAccounting",
            false => "BlockIOAccounting",
        };
        for name in ["CPUAccounting", "MemoryAccounting", "TasksAccounting", io] {
            list.put(name, Value::Bool(true));
        }
        let now = property::InForce::default();
        property::limits(&mut list, scope.resources, now, self.dialect);
        if let Some(group) = scope.resources.unified.get("memory.oom.group")
            && self.dialect.unified
            && self.dialect.version >= 253
        {
            let policy = if group.trim() == "1" {
                "kill"
            } else {
                "continue"
            };
            list.put("OOMPolicy", text(policy));
        }
        if let Some(policy) = crate::device::policy(&scope.resources.devices, scope.devices)? {
            let majors = std::fs::read_to_string("/proc/devices").unwrap_or_default();
            device::allow(&mut list, &policy, &majors);
        }
        for (name, value) in annotation::properties(scope.annotations)? {
            list.put(&name, value);
        }
        Ok(list.0)
    }

    /// Tells systemd of changed limits; [`Cgroup::update`] is to follow, with
    /// those that systemd does not know of. Devices are left alone.
    pub fn update(&mut self, unit: &str, cgroup: &Cgroup, resources: &Resources) -> Result<()> {
        crate::resources::check(cgroup, resources)?;
        let mut list = List::default();
        let now = place::in_force(cgroup);
        property::limits(&mut list, resources, now, self.dialect);
        if list.0.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.string(unit);
        // Until the unit is gone, not for ever.
        body.u32(1);
        value::properties(&mut body, &list.0);
        self.connection
            .manage("SetUnitProperties", "sba(sv)", &body.bytes)
            .map_err(failed(|| format!("change {unit}")))?;
        Ok(())
    }

    /// Ends the unit, in which nobody should be any more, and waits for that.
    /// One that is not there is fine.
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        let action = || format!("stop {unit}");
        let mut body = Writer::default();
        body.string(unit);
        body.string("replace");
        let reply = self.connection.manage("StopUnit", "ss", &body.bytes);
        let stopped = match reply {
            Err(e) if e.is(".NoSuchUnit") => return Ok(()),
            Err(e) => Err(e),
            Ok(reply) => reply
                .object()
                .map(str::to_owned)
                .and_then(|job| self.connection.wait_for(&job)),
        };
        // One that has failed would stay.
        self.reset(unit);
        stopped.map_err(failed(action))
    }

    fn reset(&mut self, unit: &str) {
        let mut body = Writer::default();
        body.string(unit);
        // It fails where there is nothing to do.
        let _ = self.connection.manage("ResetFailedUnit", "s", &body.bytes);
    }
}

fn failed(action: impl Fn() -> String) -> impl Fn(BusError) -> Error {
    move |source| Error::Systemd {
        action: action(),
        source,
    }
}

/// `252` of `252.38-1~deb12u1`, and of `v252`.
fn version(text: &str) -> Option<u32> {
    let text = text.trim_start_matches('v');
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.get(..end.unwrap_or(text.len()))?.parse().ok()
}
