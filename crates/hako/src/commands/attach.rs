//! `hako attach`

use hako_monitor::protocol::Frame;

use crate::attach::{Options, catch, stand_for};
use crate::commands::run::status;
use crate::error::Result;
use crate::places::App;
use crate::terminal::Keys;

/// Connect to the streams of a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Send it nothing of our standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the container (not with a terminal)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Keys that leave a container with a terminal running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,
    /// Name or id
    container: String,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let engine = &app.engine;
    let container = engine.find(&args.container)?;
    let options = Options {
        stdin: container.record.options.interactive && !args.no_stdin,
        tty: container.record.options.tty,
        sig_proxy: args.sig_proxy,
        keys: args.detach_keys.clone(),
    };
    let signals = catch(&options)?;
    let mut client = engine.monitor(&container)?;
    client.send(&Frame::Attach(options.request(0)))?;
    let outcome = stand_for(engine, &container, client, signals, &options)?;
    status(engine, &container, outcome)
}
