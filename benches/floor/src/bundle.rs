//! The bundle that is measured: what `hako-runtime spec` writes, for a program
//! that ends at once, behind the default filter.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use hako_seccomp::default_profile;
use hako_spec::runtime::Arch;
use hako_sys::seccomp::Filter;
use serde_json::{Value, json};

/// Changes the bundle's config.json to what [`crate::child`] does, and puts the
/// compiled filter beside it.
pub(crate) fn prepare(bundle: &Path) -> Result<()> {
    let path = bundle.join("config.json");
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let mut config: Value = serde_json::from_slice(&text)?;
    let native = Arch::native().ok_or_else(|| anyhow!("no filter for this architecture"))?;
    let profile = default_profile(
        &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
        native,
    );
    let program = hako_seccomp::compile(&profile, native)?;
    for (at, value) in [
        // What Debian's crun still takes.
        ("/ociVersion", json!("1.0.2")),
        ("/process/terminal", json!(false)),
        ("/process/args", json!(["/bin/true"])),
        ("/linux/seccomp", serde_json::to_value(&profile)?),
    ] {
        let (parent, name) = at.rsplit_once('/').unwrap_or_default();
        let object = config.pointer_mut(parent).and_then(Value::as_object_mut);
        let object = object.ok_or_else(|| anyhow!("config.json has no {parent}"))?;
        object.insert(name.to_owned(), value);
    }
    // Which `spec` leaves out where version 1 of the cgroups is in use.
    let list = config.pointer_mut("/linux/namespaces");
    let list = list.and_then(Value::as_array_mut);
    let list = list.ok_or_else(|| anyhow!("config.json has no namespaces"))?;
    list.retain(|namespace| namespace["type"] != "cgroup");
    list.push(json!({ "type": "cgroup" }));
    fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
    let bytes: Vec<u8> = program
        .instructions
        .iter()
        .flat_map(|i| {
            let [a, b] = i.code.to_le_bytes();
            let [c, d, e, f] = i.k.to_le_bytes();
            [a, b, i.jt, i.jf, c, d, e, f]
        })
        .collect();
    fs::write(bundle.join("filter.bpf"), bytes)?;
    Ok(())
}

/// The filter that [`prepare`] has compiled.
pub(crate) fn filter(bundle: &Path) -> Result<Vec<Filter>> {
    let bytes = fs::read(bundle.join("filter.bpf")).context("filter.bpf: run prepare first")?;
    let filter = bytes.chunks_exact(8).map(|c| Filter {
        code: u16::from_le_bytes([c[0], c[1]]),
        jt: c[2],
        jf: c[3],
        k: u32::from_le_bytes([c[4], c[5], c[6], c[7]]),
    });
    Ok(filter.collect())
}
