//! `hako run`

use std::process::ExitCode;

use hako_engine::{Container, Engine};

use crate::attach::{self, Options, Outcome};
use crate::commands::container::ContainerArgs;
use crate::commands::create::create;
use crate::error::{CliError, Result};
use crate::output;
use crate::places::App;
use crate::terminal::Keys;

/// Run a command in a new container
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "hako run [OPTIONS] IMAGE [COMMAND] [ARG]..."
)]
pub(crate) struct Args {
    /// Leave the container to itself, and print its id
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave a container with a terminal running
    #[arg(
        long,
        value_name = "KEYS",
        default_value = "ctrl-p,ctrl-q",
        hide_default_value = false
    )]
    detach_keys: Keys,
    /// Pass signals on to the container (not with a terminal)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
}

pub(crate) fn run(app: &App, args: Args) -> Result {
    let engine = &app.engine;
    let container = create(app, &args.container)?;
    warn_of_network(app, &container);
    if args.detach {
        engine
            .start(container.id(), None)
            .map_err(|e| forget(engine, &container, e.into()))?;
        output::line(container.id())?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options {
        stdin: args.container.interactive(),
        tty: args.container.tty(),
        sig_proxy: args.sig_proxy,
        keys: args.detach_keys,
    };
    if options.tty && options.stdin && !rustix::termios::isatty(rustix::stdio::stdin()) {
        app.warn("standard input is no terminal: keys of the container's terminal will not work");
    }
    let result = foreground(engine, &container, &options);
    let outcome = result.map_err(|e| forget(engine, &container, e))?;
    if args.container.is_transient() && matches!(outcome, Outcome::Exited(_)) {
        // The monitor removes it before it tells the end; when that one was
        // killed, this command does.
        engine.wait(container.id())?;
    }
    status(engine, &container, outcome)
}

/// Tells an unprivileged user that the default network is none here, and why.
pub(crate) fn warn_of_network(app: &App, container: &Container) {
    let mode = &container.record.options.network;
    if let Some(why) = app.engine.why_no_network(mode) {
        app.warn(&format!("this container has no network: {why}"));
    }
}

/// Starts the container and stands for it.
pub(crate) fn foreground(
    engine: &Engine,
    container: &Container,
    options: &Options,
) -> Result<Outcome> {
    let signals = attach::catch(options)?;
    let started = engine.start(container.id(), Some(options.request(0)))?;
    let client = started
        .client
        .ok_or_else(|| CliError::new("the container was started without a way to its streams"))?;
    attach::stand_for(engine, &started.container, client, signals, options)
}

/// Removes a transient container that could not be started.
fn forget(engine: &Engine, container: &Container, error: CliError) -> CliError {
    if !container.record.options.auto_remove || error.kind == crate::error::Kind::BrokenPipe {
        return error;
    }
    let removed = match engine.find(container.id()) {
        Ok(now) if now.state.starts == 0 => engine.remove(&now, true),
        Ok(_) | Err(hako_engine::Error::NoContainer(_)) => Ok(()),
        Err(e) => Err(e),
    };
    if let Err(e) = removed {
        CliError::from(e)
            .context("cannot remove the container that did not start")
            .print();
    }
    error
}

/// The exit status of hako after a container was in the foreground.
pub(crate) fn status(engine: &Engine, container: &Container, outcome: Outcome) -> Result {
    match outcome {
        Outcome::Exited(Some(code)) => Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(255))),
        Outcome::Exited(None) => {
            let why = engine.find(container.id()).ok().and_then(|c| c.state.error);
            let why = why.unwrap_or_else(|| "nobody saw it".to_owned());
            let id = container.short_id();
            Err(CliError::new(format!(
                "container {id} has ended, with which status is not known: {why}"
            )))
        }
        Outcome::Detached => Ok(ExitCode::SUCCESS),
        Outcome::Signalled(signal) => {
            let id = container.short_id();
            output::note(&format!(
                "hako: ended by signal {signal}; container {id} runs on"
            ));
            Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(255)))
        }
    }
}
