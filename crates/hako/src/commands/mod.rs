//! The verbs, one file each.

pub(crate) mod attach;
pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod conformance;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod each;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod internal;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tag;
pub(crate) mod version;
pub(crate) mod wait;

use crate::cli::{Cli, Conformance, Container, Image, Internal, System, Verb};
use crate::error::Result;
use crate::places;

/// Does what the command line says.
pub(crate) fn dispatch(cli: Cli) -> Result {
    let verb = match cli.verb {
        // These need no installation, and work where there can be none.
        Verb::Version(args) => return version::run(&cli.global, &args),
        Verb::Internal(Internal::Man { dir }) => return internal::man(&dir),
        Verb::Internal(Internal::Completions { shell }) => return internal::completions(shell),
        Verb::Conformance(Conformance::Runtime(args)) => return conformance::runtime(&args),
        Verb::Conformance(Conformance::Bundle(args)) => return bundle::run(&args),
        verb => verb,
    };
    let app = places::open(cli.global)?;
    match verb {
        Verb::Run(args) | Verb::Container(Container::Run(args)) => run::run(&app, *args),
        Verb::Create(args) | Verb::Container(Container::Create(args)) => create::run(&app, &args),
        Verb::Start(args) | Verb::Container(Container::Start(args)) => start::run(&app, &args),
        Verb::Attach(args) | Verb::Container(Container::Attach(args)) => attach::run(&app, &args),
        Verb::Ps(args) | Verb::Container(Container::Ls(args)) => ps::run(&app, &args),
        Verb::Logs(args) | Verb::Container(Container::Logs(args)) => logs::run(&app, &args),
        Verb::Exec(args) | Verb::Container(Container::Exec(args)) => exec::run(&app, args),
        Verb::Stop(args) | Verb::Container(Container::Stop(args)) => stop::run(&app, &args),
        Verb::Kill(args) | Verb::Container(Container::Kill(args)) => kill::run(&app, &args),
        Verb::Wait(args) | Verb::Container(Container::Wait(args)) => wait::run(&app, &args),
        Verb::Rm(args) | Verb::Container(Container::Rm(args)) => rm::run(&app, &args),
        Verb::Container(Container::Inspect(args)) => {
            inspect::run(&app, &args, inspect::Only::Containers)
        }
        Verb::Image(Image::Inspect(args)) => inspect::run(&app, &args, inspect::Only::Images),
        Verb::Inspect(args) => inspect::run(&app, &args, inspect::Only::Any),
        Verb::Images(args) | Verb::Image(Image::Ls(args)) => images::run(&app, &args),
        Verb::Pull(args) | Verb::Image(Image::Pull(args)) => pull::run(&app, &args),
        Verb::Rmi(args) | Verb::Image(Image::Rm(args)) => rmi::run(&app, &args),
        Verb::Tag(args) | Verb::Image(Image::Tag(args)) => tag::run(&app, &args),
        Verb::Info(args) | Verb::System(System::Info(args)) => info::run(&app, &args),
        Verb::Container(Container::Prune(args)) => prune::containers(&app, &args),
        Verb::Image(Image::Prune(args)) => prune::images(&app, &args),
        Verb::System(System::Prune(args)) => prune::system(&app, &args),
        Verb::System(System::Check(args)) => check::run(&app, &args),
        Verb::Conformance(Conformance::Runtime(args)) => conformance::runtime(&args),
        Verb::Conformance(Conformance::Bundle(args)) => bundle::run(&args),
        Verb::Version(args) => version::run(&app.global, &args),
        Verb::Internal(Internal::OnEvent { event, id }) => internal::on_event(&app, &event, &id),
        Verb::Internal(Internal::Man { dir }) => internal::man(&dir),
        Verb::Internal(Internal::Completions { shell }) => internal::completions(shell),
    }
}
