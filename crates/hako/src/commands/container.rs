//! The flags by which `run` and `create` describe a container.

pub(crate) mod words;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use hako_engine::{Create, Limits, NetworkMode, Ulimit, Volume, parse_bytes, parse_cpus};

use crate::error::{CliError, Result};
use crate::images::{Options as ImageOptions, Policy};
use crate::places::App;
use crate::terminal;

use words::{Security, env_file, host, pairs};

/// The flags.
#[derive(Debug, Clone, Args)]
pub(crate) struct ContainerArgs {
    /// The container's name; chosen when none
    #[arg(long)]
    name: Option<String>,
    /// Remove another container of that name first
    #[arg(long)]
    replace: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Set an environment variable; a bare NAME takes the value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Mount a path of the host, or a volume
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    volume: Vec<Volume>,
    /// Mount a tmpfs
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Groups besides
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// In place of the image's entrypoint; "" for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// The root file system cannot be written
    #[arg(long)]
    read_only: bool,
    /// How the container is connected: bridge, host, none or pasta
    #[arg(long, visible_alias = "net", value_name = "MODE")]
    network: Option<NetworkMode>,
    /// Publish a port (not supported yet)
    #[arg(short, long, value_name = "PORT", hide = true)]
    publish: Vec<String>,
    /// An entry for /etc/hosts
    #[arg(long, value_name = "HOST:ADDRESS")]
    add_host: Vec<String>,
    /// Name servers in place of the host's
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Search domains in place of the host's
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Options of resolv.conf in place of the host's
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Set a label
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Set an annotation of the runtime configuration
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// All capabilities and devices, no filter
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges, seccomp=FILE or seccomp=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Limit of memory: bytes, or with a unit k, m, g
    #[arg(short, long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// Limit of CPU time: so many CPUs
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// Relative share of CPU time; 1024 is normal
    #[arg(short, long, value_name = "SHARES")]
    cpu_shares: Option<u64>,
    /// Limit of the number of processes; -1 for none
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Limit of a process
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    shm_size: Option<u64>,
    /// Signal that asks the container to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds until a container that is to end is killed
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u32>,
    /// Parent cgroup
    #[arg(long, value_name = "CGROUP")]
    cgroup_parent: Option<String>,
    /// Form of the log: k8s-file, json-file or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Write the container's id to a new file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// A small process 1 (not supported yet)
    #[arg(long, hide = true)]
    init: bool,
    /// When to pull the image
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    pub(crate) pull: Policy,
    /// Say nothing while pulling
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) image: ImageOptions,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The image: a reference, deb:PACKAGES, oci:PATH, docker-archive:PATH, … and the command
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["IMAGE", "COMMAND"])]
    pub(crate) image_and_command: Vec<String>,
}

impl ContainerArgs {
    /// The image, as the user calls it.
    pub(crate) fn image_name(&self) -> &str {
        self.image_and_command.first().map_or("", String::as_str)
    }

    /// Whether a terminal is wanted.
    pub(crate) fn tty(&self) -> bool {
        self.tty
    }

    /// Whether our stdin is the container's.
    pub(crate) fn interactive(&self) -> bool {
        self.interactive
    }

    /// Whether the container goes when it ends.
    pub(crate) fn is_transient(&self) -> bool {
        self.rm
    }

    /// The name of a container that is to make room.
    pub(crate) fn replaces(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.replace)
    }

    /// What the engine is asked for.
    pub(crate) fn options(&self, app: &App) -> Result<Create> {
        self.refuse()?;
        let mut env = Vec::new();
        for file in &self.env_file {
            env.extend(env_file(file)?);
        }
        for entry in &self.env {
            if entry.is_empty() || entry.starts_with('=') {
                return Err(CliError::new(format!("--env {entry:?}: it has no name")));
            }
            env.push(entry.clone());
        }
        let security = Security::parse(&self.security_opt, |text| app.warn(text))?;
        let command = self.image_and_command.get(1..).unwrap_or_default().to_vec();
        Ok(Create {
            name: self.name.clone(),
            command,
            entrypoint: self.entrypoint.as_ref().map(|e| match e.is_empty() {
                true => Vec::new(),
                false => vec![e.clone()],
            }),
            env,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            group_add: self.group_add.clone(),
            hostname: self.hostname.clone(),
            tty: self.tty,
            console_size: terminal::size().filter(|_| self.tty),
            interactive: self.interactive,
            read_only: self.read_only,
            auto_remove: self.rm,
            network: self.network.clone().unwrap_or_default(),
            volumes: self.volume.clone(),
            tmpfs: self.tmpfs.clone(),
            labels: pairs("--label", &self.label, true)?,
            cap_add: self
                .cap_add
                .iter()
                .flat_map(|c| c.split(','))
                .map(str::to_owned)
                .collect(),
            cap_drop: self
                .cap_drop
                .iter()
                .flat_map(|c| c.split(','))
                .map(str::to_owned)
                .collect(),
            privileged: self.privileged,
            no_new_privileges: security.no_new_privileges,
            seccomp: security.seccomp,
            limits: Limits {
                memory: self.memory.filter(|bytes| *bytes > 0),
                milli_cpus: self.cpus,
                cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
                pids: self.pids_limit.filter(|limit| *limit > 0),
            },
            ulimits: self.ulimit.clone(),
            shm_size: self.shm_size,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            add_host: self
                .add_host
                .iter()
                .map(|text| host(text))
                .collect::<Result<_>>()?,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            runtime: app.global.runtime.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            annotations: pairs("--annotation", &self.annotation, false)?,
            log_driver: self.log_driver.clone(),
        })
    }

    fn refuse(&self) -> Result<()> {
        if !self.publish.is_empty() {
            return Err(CliError::new("publishing ports is not supported yet").hint(
                "the container's address is in 'hako inspect'; --network host needs no ports",
            ));
        }
        if self.init {
            return Err(CliError::new("--init is not supported yet"));
        }
        Ok(())
    }
}
