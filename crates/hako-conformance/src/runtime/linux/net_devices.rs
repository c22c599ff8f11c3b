//! "Network Devices", with pairs of virtual devices in a network namespace of
//! the tester's own that stands for the host's.

use serde_json::{Value, json};

use super::namespaces::set;
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::holder::Holder;
use crate::runtime::trial::Trial;

const SECTION: &str = "config-linux.md#network-devices";
const LIFE: &str = "config-linux.md#namespace-lifecycle-and-container-termination";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "net-devices.moved",
        SECTION,
        "A device is in the container's network namespace, and no longer in the runtime's.",
        |bench| {
            moved(bench, json!({ "hako0": {} }), |world| {
                world.inside("hako0")?;
                let outside = world.links(&[])?;
                let gone = find(&outside, "hako0").is_none();
                demand(gone, || "hako0 is in the runtime's namespace, too".into())
            })
        },
    ),
    Check::must(
        "net-devices.name",
        SECTION,
        "A device has the name inside that name says.",
        |bench| {
            moved(bench, json!({ "hako0": { "name": "inner0" } }), |world| {
                world.inside("inner0").map(drop)
            })
        },
    ),
    Check::must(
        "net-devices.several",
        SECTION,
        "All devices that are listed are moved.",
        |bench| {
            moved(
                bench,
                json!({ "hako0": {}, "hako1": { "name": "second" } }),
                |world| {
                    world.inside("hako0")?;
                    world.inside("second").map(drop)
                },
            )
        },
    ),
    Check::must(
        "net-devices.template",
        SECTION,
        "%d in a name stands for a number that makes the name unique.",
        |bench| {
            let two = json!({ "hako0": { "name": "in%d" }, "hako1": { "name": "in%d" } });
            moved(bench, two, |world| {
                world.inside("in0")?;
                world.inside("in1").map(drop)
            })
        },
    ),
    Check::must(
        "net-devices.up",
        SECTION,
        "A device is up after it was moved.",
        |bench| {
            moved(bench, json!({ "hako0": {} }), |world| {
                let link = world.inside("hako0")?;
                let flags = link["flags"].as_array().cloned().unwrap_or_default();
                demand(flags.contains(&json!("UP")), || {
                    format!("its flags are {flags:?}")
                })
            })
        },
    ),
    Check::must(
        "net-devices.addresses",
        SECTION,
        "A device keeps its permanent global addresses, of IPv4 and IPv6.",
        |bench| {
            moved(bench, json!({ "hako0": { "name": "inner0" } }), |world| {
                let link = world.inside("inner0")?;
                let all = link["addr_info"].as_array().cloned().unwrap_or_default();
                for &(address, length) in addresses() {
                    let kept = all
                        .iter()
                        .any(|it| it["local"] == address && it["prefixlen"] == length);
                    demand(kept, || format!("{address}/{length} is lost: {all:?}"))?;
                }
                Ok(())
            })
        },
    ),
    Check::must(
        "net-devices.attributes",
        SECTION,
        "A device keeps its hardware address and its MTU.",
        |bench| {
            moved(bench, json!({ "hako0": {} }), |world| {
                let link = world.inside("hako0")?;
                let same = link["mtu"] == 1400 && link["address"] == "02:00:00:00:00:77";
                demand(same, || format!("it is {link}"))
            })
        },
    ),
    Check::must(
        "net-devices.name-in-use",
        SECTION,
        "A name that a device of the container has already is an error.",
        |bench| refused(bench, json!({ "hako0": { "name": "lo" } })),
    ),
    Check::must(
        "net-devices.missing",
        SECTION,
        "A device that does not exist is an error.",
        |bench| refused(bench, json!({ "hako-none": {} })),
    ),
    Check::must(
        "net-devices.not-movable",
        SECTION,
        "A device that cannot be moved is an error.",
        |bench| refused(bench, json!({ "lo": { "name": "other" } })),
    ),
    Check::must(
        "net-devices.stays",
        LIFE,
        "The device is not moved out of the namespace when the container is deleted.",
        stays,
    ),
];

/// What the device has, as far as this machine has IPv6.
fn addresses() -> &'static [(&'static str, u32)] {
    let all = &[("192.0.2.7", 24), ("2001:db8::7", 64)];
    match super::hierarchy::exists("/proc/sys/net/ipv6".as_ref()) {
        true => all,
        false => &all[..1],
    }
}

/// The runtime's network namespace with its devices, and a container.
struct World<'a> {
    trial: Trial<'a>,
    host: Holder,
    ip: &'static str,
}

impl<'a> World<'a> {
    fn new(bench: &'a Bench, devices: Value) -> Result<World<'a>, Stop> {
        let trial = Trial::of(bench, "1.3.0", &[])?;
        let Some(ip) = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"]
            .into_iter()
            .find(|path| super::hierarchy::exists(path.as_ref()))
        else {
            let why = "this machine has no program ip to make devices with";
            return Err(Stop::Skipped(why.into()));
        };
        let host = Holder::new(&trial, &[Step::Unshare(vec!["net".into()])])?;
        let join = host.ns("net");
        let world = World {
            trial: trial
                .edit(|config| config["linux"]["netDevices"] = devices)
                .within(&[Step::Join(join)]),
            host,
            ip,
        };
        let pair = ["type", "veth", "peer", "name"];
        for (words, what) in [
            (
                vec![
                    "link",
                    "add",
                    "hako0",
                    "address",
                    "02:00:00:00:00:77",
                    "mtu",
                    "1400",
                ],
                "peer0",
            ),
            (vec!["link", "add", "hako1"], "peer1"),
        ] {
            let made = world.ip(&[], &[&words[..], &pair, &[what]].concat())?;
            if made.is_none() {
                return Err(Stop::Skipped("this kernel has no veth devices".into()));
            }
        }
        for (address, length) in addresses() {
            let address = format!("{address}/{length}");
            let words = ["address", "add", &address, "dev", "hako0"];
            if world.ip(&[], &words)?.is_none() {
                return Err(Stop::Broken(format!("the device does not take {address}")));
            }
        }
        Ok(world)
    }

    /// `ip` in the host's namespace, or else in one that `steps` lead to; none
    /// when it fails.
    fn ip(&self, steps: &[Step], args: &[&str]) -> Result<Option<String>, Stop> {
        let mut all = vec![Step::Into("/dev/null".into())];
        match steps.is_empty() {
            true => all.push(Step::Join(self.host.ns("net"))),
            false => all.extend_from_slice(steps),
        }
        let words = std::iter::once(&self.ip).chain(args);
        all.push(Step::Exec(words.map(|&word| word.to_owned()).collect()));
        let mut command = std::process::Command::new(self.trial.bench.probe());
        command.arg(json!(all).to_string());
        let done = self.trial.finish(&mut command)?;
        Ok(done.is_ok().then_some(done.out))
    }

    /// The devices there, as `ip -json address` has them.
    fn links(&self, steps: &[Step]) -> Result<Vec<Value>, Stop> {
        let text = self.ip(steps, &["-json", "address", "show"])?;
        let found = text.and_then(|text| serde_json::from_str(&text).ok());
        found.ok_or_else(|| Stop::Broken("'ip -json address show' fails".into()))
    }

    /// A device of the container.
    fn inside(&self, name: &str) -> Result<Value, Stop> {
        let path = format!("/proc/{}/ns/net", self.trial.pid()?);
        let links = self.links(&[Step::Join(path)])?;
        match find(&links, name) {
            Some(link) => Ok(link.clone()),
            None => {
                let names: Vec<&Value> = links.iter().map(|link| &link["ifname"]).collect();
                fails(format!("{name} is not inside, but {names:?}"))
            }
        }
    }
}

fn find<'a>(links: &'a [Value], name: &str) -> Option<&'a Value> {
    links.iter().find(|link| link["ifname"] == name)
}

fn moved(bench: &Bench, devices: Value, look: fn(&World<'_>) -> Verdict) -> Verdict {
    let world = World::new(bench, devices)?;
    world.trial.create()?;
    look(&world)?;
    world.trial.passed()
}

fn refused(bench: &Bench, devices: Value) -> Verdict {
    // With a sound list it is one, so that the fault is what is refused.
    moved(bench, json!({ "hako0": {} }), |_| Ok(()))?;
    let world = World::new(bench, devices)?;
    super::does_not_run(world.trial)
}

/// In a namespace that outlives the container.
fn stays(bench: &Bench) -> Verdict {
    let mut world = World::new(bench, json!({ "hako0": {} }))?;
    let other = Trial::new(bench, &[])?;
    let holder = Holder::new(&other, &[Step::Unshare(vec!["net".into()])])?;
    let path = holder.ns("net");
    set(&mut world.trial.config, "network", Some(json!(path)));
    world.trial.launch()?;
    world.trial.becomes("stopped")?;
    world.trial.delete()?;
    let links = world.links(&[Step::Join(path)])?;
    demand(find(&links, "hako0").is_some(), || {
        "the device is gone from the namespace".into()
    })?;
    other.passed()?;
    world.trial.passed()
}
