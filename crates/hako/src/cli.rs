//! The command line as a whole: global flags and the verbs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// The status of a command line that cannot be understood, as docker's and
/// podman's: a container's own statuses stay below it.
const USAGE: u8 = 125;

/// Containers, images and what they need, without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "hako",
    bin_name = "hako",
    version,
    disable_version_flag = true,
    args_override_self = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub(crate) global: Global,
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How much is told on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum LogLevel {
    /// Errors alone.
    Error,
    /// Also what may surprise.
    Warn,
    /// The same; for scripts that say so.
    Info,
    /// Also where an error comes from.
    Debug,
}

/// How root file systems are made of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Snapshotter {
    /// EROFS images over the layers' archives, which are not unpacked.
    Erofs,
    /// Overlayfs over directories.
    Overlay,
    /// A copy of the files for each container.
    Plain,
}

/// Flags of every verb, before or after it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where images and containers are kept [default: /var/lib/hako; for users: ~/.local/share/hako]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Where is kept what a reboot ends [default: /run/hako; for users: $XDG_RUNTIME_DIR/hako]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) runroot: Option<PathBuf>,
    /// OCI runtime, by name or path [default: hako-runtime]
    #[arg(long, global = true, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    /// How root file systems are made [default: the first that works: 'hako info' tells]
    #[arg(long, global = true, value_name = "KIND", value_enum)]
    pub(crate) snapshotter: Option<Snapshotter>,
    /// How much is told
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        value_enum,
        hide_possible_values = false
    )]
    pub(crate) log_level: Option<LogLevel>,
    /// The same as --log-level debug
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

impl Global {
    /// Whether errors are told with all that is known.
    pub(crate) fn is_debug(&self) -> bool {
        self.debug || self.log_level == Some(LogLevel::Debug)
    }

    /// Whether warnings are told.
    pub(crate) fn warns(&self) -> bool {
        self.debug || self.log_level != Some(LogLevel::Error)
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a command in a new container
    Run(Box<commands::run::Args>),
    /// Make a container, without starting it
    Create(Box<commands::create::Args>),
    /// Start containers that were created or have ended
    Start(commands::start::Args),
    /// Connect to the streams of a running container
    Attach(commands::attach::Args),
    /// List containers
    #[command(visible_alias = "ls", alias = "list")]
    Ps(commands::ps::Args),
    /// Show the output of a container
    Logs(commands::logs::Args),
    /// Run another command in a running container
    Exec(commands::exec::Args),
    /// Stop running containers
    Stop(commands::stop::Args),
    /// Send a signal to running containers
    Kill(commands::kill::Args),
    /// Wait until containers have ended; print their exit statuses
    Wait(commands::wait::Args),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(commands::rm::Args),
    /// Show all about containers or images, as JSON
    Inspect(commands::inspect::Args),
    /// List images
    Images(commands::images::Args),
    /// Bring an image into the store
    Pull(commands::pull::Args),
    /// Remove images
    Rmi(commands::rmi::Args),
    /// Give an image another name
    Tag(commands::tag::Args),
    /// Show this installation
    Info(commands::info::Args),
    /// Show the versions
    Version(commands::version::Args),
    /// Work with containers
    #[command(subcommand)]
    Container(Container),
    /// Work with images
    #[command(subcommand)]
    Image(Image),
    /// Look after the installation
    #[command(subcommand)]
    System(System),
    /// Make and look at bundles, which OCI runtimes run
    #[command(subcommand)]
    Bundle(Bundle),
    /// Tell whether other programs do what the specifications say
    #[command(subcommand)]
    Conformance(Conformance),
    /// For hako itself
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

/// Verbs on bundles.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Bundle {
    /// Write a bundle's config.json
    ///
    /// It is that of 'hako-runtime spec', or a template, with these options
    /// applied; they are those of oci-runtime-tool that are about Linux, and more.
    /// What removes all of something is applied before what adds to it; --set and
    /// --unset come last, in their order. A configuration that the specification
    /// does not allow is not written.
    Generate(Box<commands::bundle::generate::Args>),
    /// Look whether a bundle is what the runtime specification says
    ///
    /// The same as 'hako conformance bundle'.
    Validate(commands::bundle::Args),
}

/// Testers.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Conformance {
    /// Try OCI runtimes against the runtime specification
    ///
    /// Each check stands for one sentence of the specification. It makes a bundle
    /// and a container of its own with the runtime and removes them again. Nothing
    /// else is needed, neither an image nor a network. The status is 1 when a MUST
    /// is not obeyed.
    Runtime(commands::conformance::Args),
    /// Look whether a bundle is what the runtime specification says
    ///
    /// Reads config.json and the root file system, and runs nothing. The status is
    /// 1 when a MUST is broken.
    Bundle(commands::bundle::Args),
}

/// Verbs on containers.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Container {
    /// Run a command in a new container
    Run(Box<commands::run::Args>),
    /// Make a container, without starting it
    Create(Box<commands::create::Args>),
    /// Start containers that were created or have ended
    Start(commands::start::Args),
    /// Connect to the streams of a running container
    Attach(commands::attach::Args),
    /// List containers
    #[command(visible_alias = "ps", alias = "list")]
    Ls(commands::ps::Args),
    /// Show the output of a container
    Logs(commands::logs::Args),
    /// Run another command in a running container
    Exec(commands::exec::Args),
    /// Stop running containers
    Stop(commands::stop::Args),
    /// Send a signal to running containers
    Kill(commands::kill::Args),
    /// Wait until containers have ended; print their exit statuses
    Wait(commands::wait::Args),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(commands::rm::Args),
    /// Show all about containers, as JSON
    Inspect(commands::inspect::Args),
    /// Remove all containers that do not run
    Prune(commands::prune::Containers),
}

/// Verbs on images.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Image {
    /// List images
    #[command(alias = "list")]
    Ls(commands::images::Args),
    /// Bring an image into the store
    Pull(commands::pull::Args),
    /// Remove images
    #[command(alias = "remove")]
    Rm(commands::rmi::Args),
    /// Give an image another name
    Tag(commands::tag::Args),
    /// Show all about images, as JSON
    Inspect(commands::inspect::Args),
    /// Remove content that nothing refers to
    Prune(commands::prune::Images),
}

/// Verbs on the installation.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum System {
    /// Look whether what is on disk and what runs agree
    Check(commands::check::Args),
    /// Remove stopped containers and content that nothing refers to
    Prune(commands::prune::System),
    /// Show this installation
    Info(commands::info::Args),
}

/// What hako calls itself.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Internal {
    /// Deal with an event of a container's monitor
    OnEvent {
        /// `exit`
        event: String,
        /// The container
        id: String,
    },
    /// Bring unpacked layers to the disk
    Settle,
    /// Write the manual pages into a directory
    Man {
        /// The directory
        dir: PathBuf,
    },
    /// Print the completions of a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}

/// Reads the command line.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    Cli::try_parse()
}

/// Prints help where it was asked for, else what is wrong.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        _ => USAGE,
    };
    match error.print() {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(141),
        _ => ExitCode::from(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_image_is_the_commands() {
        let text = [
            "hako", "run", "--rm", "--root", "/r", "img", "sh", "-c", "x", "--rm", "--", "-e",
        ];
        let cli = Cli::try_parse_from(text).unwrap();
        assert_eq!(cli.global.root, Some("/r".into()));
        let Verb::Run(args) = cli.verb else { panic!() };
        assert_eq!(
            args.container.image_and_command,
            ["img", "sh", "-c", "x", "--rm", "--", "-e"]
        );
    }

    #[test]
    fn unknown_flags_before_the_image_are_refused() {
        for text in [
            &["hako", "run", "--nope", "img"][..],
            &["hako", "run", "-Q", "img"],
            &["hako", "run"],
            &["hako", "exec", "c"],
            &["hako", "ps", "x"],
        ] {
            assert!(Cli::try_parse_from(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for text in [
            &["hako", "--root", "/r", "container", "ls", "-a"][..],
            &["hako", "container", "--root", "/r", "ls", "-a"],
            &["hako", "container", "ls", "-a", "--root", "/r"],
        ] {
            let cli = Cli::try_parse_from(text).unwrap();
            assert_eq!(cli.global.root, Some("/r".into()), "{text:?}");
        }
    }
}
