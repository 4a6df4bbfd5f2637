//! The one binary: parse, do, print, and an exit code (0 done, 1 failed, 2 wrong use).

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

mod cli;
mod cluster;
mod command;
mod error;
mod manifest;
mod print;
mod readiness;
mod timeline;

use cli::{Cli, Verb, WorkflowVerb};
use cluster::Cluster;
use error::{Exit, Outcome};

fn main() -> ExitCode {
    // A shim must come up before anything else is initialised: it has one thread, no runtime, and is started per pod.
    let mut words = std::env::args_os();
    if words.nth(1).is_some_and(|word| word == "shim") {
        return kapell_shim::main(words);
    }

    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::from(Exit::Failure.code());
        }
    };
    let outcome = runtime.block_on(run(&cli));
    // A read of standard input may still wait for a key that nobody will press.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit.code())
        }
    }
}

async fn run(cli: &Cli) -> Outcome {
    use command::{apply, delete, describe, get, logs, rollout, scale, server, streams, up, version, why, workflow};
    let target = &cli.target;
    match &cli.verb {
        Verb::Up(args) => up::up(target, args).await,
        Verb::Down(args) => up::down(target, args).await,
        Verb::Server(args) => server::run(target, args).await,
        Verb::Apply(args) => apply::run(&Cluster::connect(target).await?, args).await,
        Verb::Get(args) => get::run(&Cluster::connect(target).await?, args).await,
        Verb::Describe(args) => describe::run(&Cluster::connect(target).await?, args).await,
        Verb::Exec(args) => streams::exec(&Cluster::connect(target).await?, args).await,
        Verb::Attach(args) => streams::attach(&Cluster::connect(target).await?, args).await,
        Verb::PortForward(args) => streams::port_forward(&Cluster::connect(target).await?, args).await,
        Verb::Logs(args) => logs::run(&Cluster::connect(target).await?, args).await,
        Verb::Delete(args) => delete::run(&Cluster::connect(target).await?, args).await,
        Verb::Scale(args) => scale::run(&Cluster::connect(target).await?, args).await,
        Verb::Rollout(verb) => rollout::run(&Cluster::connect(target).await?, verb).await,
        Verb::Workflow(WorkflowVerb::Lint { files, output }) => workflow::design::lint(files, *output),
        Verb::Workflow(WorkflowVerb::Graph { which }) => workflow::design::graph(target, which).await,
        Verb::Workflow(WorkflowVerb::Test { files, only }) => workflow::design::test(files, only.as_deref()),
        Verb::Workflow(verb) => workflow::run(&Cluster::connect(target).await?, verb).await,
        Verb::Why(args) => why::run(&Cluster::connect(target).await?, args).await,
        Verb::Version => version::run(target).await,
        Verb::Completion { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "kapell", &mut std::io::stdout());
            Ok(())
        }
    }
}
