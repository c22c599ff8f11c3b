//! Devices as `DevicePolicy` and `DeviceAllow` (systemd.resource-control(5)).
//!
//! Where systemd cannot say what is allowed, it must not say less: on cgroup v2
//! its filter stands beside ours and both must agree, on version 1 it writes to
//! the file that we write to afterwards.

use super::property::List;
use super::value::Value;
use crate::device::{Access, Exception, Kind, Policy};

/// Puts the policy into the properties; `majors` is `/proc/devices`.
pub(super) fn allow(list: &mut List, policy: &Policy, majors: &str) {
    let all: Option<Vec<(String, String)>> = match policy.default_allow {
        true => None,
        false => {
            let entries = policy.exceptions.iter().map(|e| entry(e, majors));
            // Of a driver that is not there, there are no devices either.
            let entries = entries.filter_map(Result::transpose);
            entries.collect::<Result<_, Inexpressible>>().ok()
        }
    };
    let (name, all) = match all {
        Some(all) => ("strict", all),
        None => ("auto", Vec::new()),
    };
    list.put("DevicePolicy", Value::String(name.to_owned()));
    list.put("DeviceAllow", Value::Pairs(all));
}

struct Inexpressible;

fn entry(e: &Exception, majors: &str) -> Result<Option<(String, String)>, Inexpressible> {
    let (letters, section) = match e.kind {
        Kind::Char => ("char", "Character devices:"),
        Kind::Block => ("block", "Block devices:"),
    };
    let specifier = match (e.major, e.minor) {
        (None, None) => format!("{letters}-*"),
        (None, Some(_)) => return Err(Inexpressible),
        (Some(major), Some(minor)) => format!("/dev/{letters}/{major}:{minor}"),
        (Some(major), None) => match driver(majors, section, major) {
            Some(name) => format!("{letters}-{name}"),
            None => return Ok(None),
        },
    };
    let mut access = String::new();
    for (bit, letter) in [
        (Access::READ, 'r'),
        (Access::WRITE, 'w'),
        (Access::MKNOD, 'm'),
    ] {
        if e.access.bits() & bit.bits() != 0 {
            access.push(letter);
        }
    }
    Ok(Some((specifier, access)))
}

/// The name by which systemd finds this major number again.
fn driver<'a>(majors: &'a str, section: &str, major: u32) -> Option<&'a str> {
    let lines = majors.lines().skip_while(|l| *l != section).skip(1);
    let mut entries = lines
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.trim().split_once(' '));
    entries
        .find(|(number, _)| number.parse() == Ok(major))
        .map(|(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create::Devices;

    const MAJORS: &str = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n136 x\n";

    fn show(json: &str, defaults: bool) -> (Value, Vec<String>) {
        let json = format!(r#"{{"devices":{json}}}"#);
        let resources = hako_spec::runtime::Resources::from_slice(json.as_bytes()).unwrap();
        let mut list = List::default();
        let devices = if defaults {
            Devices::Apply
        } else {
            Devices::Exact
        };
        let policy = crate::device::policy(&resources.devices, devices).unwrap();
        allow(&mut list, &policy.unwrap(), MAJORS);
        let mut list = list.0.into_iter().map(|(_, value)| value);
        let policy = list.next().unwrap();
        let Some(Value::Pairs(pairs)) = list.next() else {
            panic!("no list");
        };
        (
            policy,
            pairs.into_iter().map(|(d, a)| format!("{d} {a}")).collect(),
        )
    }

    #[test]
    fn entries() {
        let strict = Value::String("strict".to_owned());
        let auto = Value::String("auto".to_owned());
        let json = r#"[{"allow":false,"access":"rwm"},
            {"allow":true,"type":"c","major":10,"minor":5,"access":"rw"},
            {"allow":true,"type":"b","major":8,"access":"r"},
            {"allow":true,"type":"c","major":99,"access":"r"}]"#;
        let (policy, list) = show(json, false);
        assert_eq!(policy, strict);
        assert_eq!(list, ["/dev/char/10:5 rw", "block-sd r"]);
        let (_, list) = show(json, true);
        for expected in ["char-* m", "block-* m", "/dev/char/1:3 rwm", "char-pts rwm"] {
            assert!(list.iter().any(|l| l == expected), "{expected}: {list:?}");
        }
        for json in [
            r#"[{"allow":true,"access":"rwm"}]"#,
            r#"[{"allow":true,"type":"c","minor":5,"access":"r"}]"#,
        ] {
            assert_eq!(show(json, true), (auto.clone(), Vec::new()));
        }
    }
}
