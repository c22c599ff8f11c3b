//! Weights and limits of block devices (config-linux.md, "Block IO").

use hako_spec::runtime::{BlockIo, ThrottleDevice};

use crate::cgroup::{Cgroup, Site};
use crate::convert::io_weight;
use crate::dir::Dir;
use crate::error::{Error, Field, Result};

fn throttles(b: &BlockIo) -> [(&'static str, &'static str, &'static str, &[ThrottleDevice]); 4] {
    [
        (
            "blockIO.throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            "rbps",
            &b.throttle_read_bps_device,
        ),
        (
            "blockIO.throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            "wbps",
            &b.throttle_write_bps_device,
        ),
        (
            "blockIO.throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            "riops",
            &b.throttle_read_iops_device,
        ),
        (
            "blockIO.throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            "wiops",
            &b.throttle_write_iops_device,
        ),
    ]
}

fn first_field(b: &BlockIo) -> Option<&'static str> {
    if b.weight.is_some_and(|w| w != 0) {
        return Some("blockIO.weight");
    }
    if b.leaf_weight.is_some_and(|w| w != 0) {
        return Some("blockIO.leafWeight");
    }
    if !b.weight_device.is_empty() {
        return Some("blockIO.weightDevice");
    }
    throttles(b)
        .into_iter()
        .find_map(|(field, _, _, list)| (!list.is_empty()).then_some(field))
}

pub(super) fn is_set(b: &BlockIo) -> bool {
    first_field(b).is_some()
}

pub(super) fn apply(cgroup: &Cgroup, b: &BlockIo) -> Result<()> {
    let Some(field) = first_field(b) else {
        return Ok(());
    };
    for device in &b.weight_device {
        if device.weight.unwrap_or(0) == 0 && device.leaf_weight.unwrap_or(0) == 0 {
            return Err(Error::invalid(
                "blockIO.weightDevice",
                format!(
                    "{}:{} has neither weight nor leafWeight",
                    device.major, device.minor
                ),
            ));
        }
    }
    match cgroup.site_for("blkio", field)? {
        Site::V1(dir) => v1(dir, b),
        Site::V2(dir) => v2(dir, b),
    }
}

fn v1(dir: &Dir, b: &BlockIo) -> Result<()> {
    // CFQ's files are gone since 5.0, BFQ's take their place.
    let weight_file = if dir.exists("blkio.weight") {
        "blkio.weight"
    } else {
        "blkio.bfq.weight"
    };
    if let Some(weight) = b.weight.filter(|w| *w != 0) {
        dir.write(weight_file, &weight.to_string())
            .field("blockIO.weight")?;
    }
    if let Some(weight) = b.leaf_weight.filter(|w| *w != 0) {
        dir.write("blkio.leaf_weight", &weight.to_string())
            .field("blockIO.leafWeight")?;
    }
    for device in &b.weight_device {
        let value = |weight| format!("{}:{} {weight}", device.major, device.minor);
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            dir.write(&format!("{weight_file}_device"), &value(weight))
                .field("blockIO.weightDevice")?;
        }
        if let Some(weight) = device.leaf_weight.filter(|w| *w != 0) {
            dir.write("blkio.leaf_weight_device", &value(weight))
                .field("blockIO.weightDevice")?;
        }
    }
    for (field, file, _, list) in throttles(b) {
        for t in list {
            dir.write(file, &format!("{}:{} {}", t.major, t.minor, t.rate))
                .field(field)?;
        }
    }
    Ok(())
}

fn v2(dir: &Dir, b: &BlockIo) -> Result<()> {
    let leaf = b.leaf_weight.is_some_and(|w| w != 0)
        || b.weight_device
            .iter()
            .any(|d| d.leaf_weight.is_some_and(|w| w != 0));
    if leaf {
        return Err(Error::invalid(
            "blockIO.leafWeight",
            "does not exist in cgroup v2",
        ));
    }
    // BFQ takes the range of version 1, the general file needs converting.
    let bfq = dir.exists("io.bfq.weight");
    let (file, convert): (_, fn(u16) -> u64) = if bfq {
        ("io.bfq.weight", u64::from)
    } else {
        ("io.weight", io_weight)
    };
    if let Some(weight) = b.weight.filter(|w| *w != 0) {
        dir.write(file, &convert(weight).to_string())
            .field("blockIO.weight")?;
    }
    for device in &b.weight_device {
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            let value = format!("{}:{} {}", device.major, device.minor, convert(weight));
            dir.write(file, &value).field("blockIO.weightDevice")?;
        }
    }
    for (field, _, key, list) in throttles(b) {
        for t in list {
            // 0 takes a limit away in version 1.
            let rate = match t.rate {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            dir.write("io.max", &format!("{}:{} {key}={rate}", t.major, t.minor))
                .field(field)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::resources::tests::{Fake, chain};

    const ALL: &str = r#"{"blockIO":{"weight":500,
        "weightDevice":[{"major":8,"minor":0,"weight":300}],
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],
        "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":601}],
        "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":602}],
        "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":603}]}}"#;

    #[test]
    fn version_one() {
        let fake = Fake::v1(&[
            ("blkio.bfq.weight", ""),
            ("blkio.bfq.weight_device", ""),
            ("blkio.throttle.read_bps_device", ""),
            ("blkio.throttle.write_bps_device", ""),
            ("blkio.throttle.read_iops_device", ""),
            ("blkio.throttle.write_iops_device", ""),
        ]);
        fake.apply(ALL).unwrap();
        for (file, value) in [
            ("bfq.weight", "500"),
            ("bfq.weight_device", "8:0 300"),
            ("throttle.read_bps_device", "8:0 600"),
            ("throttle.write_bps_device", "8:0 601"),
            ("throttle.read_iops_device", "8:0 602"),
            ("throttle.write_iops_device", "8:16 603"),
        ] {
            assert_eq!(fake.read(&format!("blkio/c/blkio.{file}")), value);
        }
    }

    #[test]
    fn version_two() {
        let fake = Fake::v2("io", &[("io.weight", ""), ("io.max", "")]);
        fake.apply(r#"{"blockIO":{"weight":500}}"#).unwrap();
        assert_eq!(fake.read("c/io.weight"), "4950");
        fake.apply(ALL).unwrap();
        assert_eq!(fake.read("c/io.max"), "8:16 wiops=603");
        assert_eq!(fake.read("c/io.weight"), "8:0 2930");
        let bfq = Fake::v2("io", &[("io.bfq.weight", ""), ("io.max", "")]);
        bfq.apply(r#"{"blockIO":{"weight":500}}"#).unwrap();
        assert_eq!(bfq.read("c/io.bfq.weight"), "500");
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let fake = Fake::v2("io", &[]);
        for (json, text) in [
            (
                r#"{"blockIO":{"leafWeight":10}}"#,
                "blockIO.leafWeight does not exist in cgroup v2",
            ),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":1}]}}"#,
                "blockIO.weightDevice 8:1 has neither weight nor leafWeight",
            ),
        ] {
            assert_eq!(chain(&fake.apply(json).unwrap_err()), text);
        }
    }
}
