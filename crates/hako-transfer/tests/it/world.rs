//! A store of our own, and images that umoci and buildah made.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hako_distribution::auth::{Credential, Keychain};
use hako_distribution::http::{self, Http};
use hako_distribution::registries::Registries;
use hako_distribution::{Client, Environment, client};
use hako_snapshot::Snapshotter;
use hako_store::{Owner, Store};
use hako_transfer::{Context, Event, Options, Policy, Progress, Pulled, Result, Source, pull};

/// Keeps what was told.
#[derive(Default)]
pub struct Log(pub Mutex<Vec<Event>>);

impl Progress for Log {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Log {
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|event| wanted(event))
            .count()
    }

    pub fn bytes(&self) -> u64 {
        let events = self.0.lock().unwrap();
        let bytes = |event: &Event| match event {
            Event::LayerProgress { bytes, .. } => *bytes,
            _ => 0,
        };
        events.iter().map(bytes).sum()
    }
}

pub const OWNER: Owner = Owner::Cli(0);

/// A directory with a store.
pub struct World {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub log: Arc<Log>,
    pub context: Context,
}

impl World {
    pub fn new() -> Self {
        Self::with(Keychain::empty())
    }

    pub fn with(keychain: Keychain) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::default());
        let context = context(&dir.path().join("store"), keychain, Arc::clone(&log));
        Self {
            store: context.store.clone(),
            dir,
            log,
            context,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn pull(&self, source: &str) -> Result<Pulled> {
        self.pull_with(source, &Options::default()).await
    }

    pub async fn pull_with(&self, source: &str, options: &Options) -> Result<Pulled> {
        self.log.0.lock().unwrap().clear();
        let source = Source::parse(source, &Registries::default())?;
        let (context, options) = (self.context.clone(), options.clone());
        // On another thread, so that the future has to be `Send`.
        tokio::spawn(async move { pull(&source, &context, &options).await })
            .await
            .unwrap()
    }

    /// Every check of the store passes, and no name is there but these.
    pub fn assert_clean(&self, names: &[&str]) {
        let report = self
            .store
            .check(hako_store::check::Options::default())
            .unwrap();
        assert!(report.is_clean(), "{report:?}");
        let list = self
            .store
            .names()
            .list(&hako_store::names::Filter::default())
            .unwrap();
        let found: Vec<&str> = list.iter().map(|name| name.reference.as_str()).collect();
        assert_eq!(found, names);
    }

    /// The text of a file in the highest layer that has it.
    pub fn file(&self, pulled: &Pulled, name: &str) -> Option<Vec<u8>> {
        let snapshotter = self.context.snapshotter.as_ref().unwrap();
        pulled.layers.iter().rev().find_map(|key| {
            snapshotter.provide(std::slice::from_ref(key)).unwrap();
            let content = std::fs::read(snapshotter.layer_path(key).join(name));
            snapshotter.withdraw(key).unwrap();
            content.ok()
        })
    }
}

pub fn context(root: &Path, keychain: Keychain, log: Arc<Log>) -> Context {
    let http = Http::new(http::Options {
        pause: Duration::from_millis(5),
        environment: Environment::default(),
        ..http::Options::default()
    });
    let options = client::Options {
        keychain,
        ..client::Options::default()
    };
    let store = Store::open(root).unwrap();
    Context {
        snapshotter: Some(Arc::new(Snapshotter::open(&store, false).unwrap())),
        store,
        client: Client::new(http, options),
        policy: Policy::accept(),
        progress: log,
        owner: OWNER,
        packages: None,
    }
}

pub fn password(registry: &str, user: &str, password: &str) -> Keychain {
    let credential = Credential::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    Keychain::empty().with(registry, credential)
}

/// Runs a peer's tool; its failure is ours.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An OCI layout with the image `1` of two layers, made by umoci.
pub fn layout(dir: &Path) -> PathBuf {
    let layout = dir.join("layout");
    let files = dir.join("files");
    std::fs::create_dir_all(files.join("etc")).unwrap();
    std::fs::write(files.join("etc/first"), "first layer\n").unwrap();
    // Large enough to come in several pieces, and not compressible away.
    let mut noise = Vec::new();
    let mut state = 1u64;
    while noise.len() < 1 << 20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        noise.extend_from_slice(&(state >> 33).to_le_bytes()[..3]);
    }
    std::fs::write(files.join("noise"), &noise).unwrap();
    std::fs::write(dir.join("second"), "second layer\n").unwrap();
    run("umoci", &["init", "--layout", text(&layout)]);
    let image = format!("{}:1", text(&layout));
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["insert", "--image", &image, text(&files), "/"]);
    run(
        "umoci",
        &[
            "insert",
            "--image",
            &image,
            text(&dir.join("second")),
            "/etc/second",
        ],
    );
    run(
        "umoci",
        &["config", "--image", &image, "--config.cmd", "/bin/true"],
    );
    layout
}

/// `oci:LAYOUT:1`.
pub fn oci(layout: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", text(layout))
}

/// `skopeo copy` without policies of this machine.
pub fn skopeo_copy(flags: &[&str], from: &str, to: &str) {
    let mut arguments = vec!["--insecure-policy", "copy", "-q"];
    arguments.extend(["--src-tls-verify=false", "--dest-tls-verify=false"]);
    arguments.extend(flags);
    arguments.extend([from, to]);
    run("skopeo", &arguments);
}

/// The config's digest as skopeo sees it: the image id.
pub fn skopeo_id(source: &str) -> String {
    let raw = run(
        "skopeo",
        &[
            "--insecure-policy",
            "inspect",
            "--raw",
            "--tls-verify=false",
            source,
        ],
    );
    let value: serde_json::Value = serde_json::from_str(&raw).unwrap();
    value["config"]["digest"].as_str().unwrap().to_owned()
}

/// The digest of what the registry has under the name.
pub fn skopeo_digest(source: &str) -> String {
    let raw = run(
        "skopeo",
        &[
            "--insecure-policy",
            "inspect",
            "--raw",
            "--tls-verify=false",
            source,
        ],
    );
    hako_distribution::hash::sha256(raw.as_bytes()).to_string()
}
