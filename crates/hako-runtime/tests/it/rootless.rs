//! A caller without rights: uid 1000, with one mapped id and no cgroups.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{BIN, Bundle, Out, copy_program, until};

struct Rootless(Bundle);

impl Rootless {
    fn new(script: &str) -> Self {
        let b = Bundle::sh(script);
        let dir = b.dir.path().to_owned();
        fs::remove_file(dir.join("config.json")).unwrap();
        copy_program(BIN.as_ref(), &dir.join("program"));
        let spec = Command::new(BIN)
            .args(["spec", "--rootless", "-b"])
            .arg(&dir)
            .status();
        assert!(spec.unwrap().success());
        let text = fs::read(dir.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        for map in ["uidMappings", "gidMappings"] {
            config["linux"][map][0]["hostID"] = json!(1000);
        }
        fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let owned = Command::new("chown")
            .args(["-hR", "1000:1000"])
            .arg(&dir)
            .status();
        assert!(owned.unwrap().success());
        chown(&dir, Some(1000), Some(1000)).unwrap();
        Rootless(b)
    }

    fn call(&self, args: &[&str]) -> Out {
        let dir = self.0.dir.path();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
            .arg(dir.join("program"))
            .args(args)
            .env("XDG_RUNTIME_DIR", dir)
            .stdin(Stdio::null());
        self.0.finish(command)
    }
}

#[test]
fn the_whole_life_of_a_rootless_container() {
    let b = Rootless::new("id -u; cat /proc/self/uid_map; sleep 1000");
    let dir = b.0.dir.path().to_str().unwrap();
    let out = b.call(&["create", "-b", dir, "rootless"]);
    out.ok();
    b.call(&["start", "rootless"]).ok();
    until(|| out.now().lines().count() == 2);
    let words = out.now();
    assert_eq!(
        words.split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "1000", "1"]
    );
    assert_eq!(b.call(&["exec", "rootless", "id", "-u"]).ok(), "0");
    assert_eq!(b.call(&["exec", "rootless", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(b.call(&["list", "-q"]).ok(), "rootless");
    b.call(&["kill", "rootless", "KILL"]).ok();
    until(|| b.call(&["state", "rootless"]).ok().contains("stopped"));
    b.call(&["delete", "rootless"]).ok();
    assert_eq!(b.call(&["list", "-q"]).ok(), "");
}

/// In a user namespace that somebody else has made, where setgroups(2) is
/// denied: no groups are no reason to fail, and groups are.
#[test]
fn a_user_namespace_of_one_id_has_no_groups() {
    let b = Rootless::new("id -G");
    let dir = b.0.dir.path();
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let linux = config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|n| n["type"] != "user");
    let run = |config: &Value, id: &str| {
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
            .args(["unshare", "--user", "--map-root-user", "--mount"])
            .arg(dir.join("program"))
            .args(["run", "-b"])
            .args([dir.as_os_str(), id.as_ref()])
            .env("XDG_RUNTIME_DIR", dir)
            .stdin(Stdio::null());
        b.0.finish(command)
    };
    assert_eq!(run(&config, "without").ok(), "0");
    config["process"]["user"]["additionalGids"] = json!([7]);
    let said = run(&config, "with").fails();
    assert!(said.contains("forbids additional groups"), "{said}");
}
