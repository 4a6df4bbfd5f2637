//! The services of the example shop, in one program: `shop user|order|inventory|payment` serves, `shop wait NAME…` waits for
//! services, `shop audit` tells what they have done.
//!
//! Each service keeps its state in an SQLite file below `--data` (by default `$KAPELL_VOLUME_DATA`, else `data`), which its
//! replicas share. It is an example of what Kapell runs, not a part of it: it knows environment variables, HTTP and SIGTERM.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

mod inventory;
mod ledger;
mod order;
mod payment;
mod serve;
mod service;
mod user;
mod wait;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::ledger::Ledger;
use crate::service::Service;

/// Every service there is.
const SERVICES: [Service; 4] = [user::SERVICE, order::SERVICE, inventory::SERVICE, payment::SERVICE];

const USAGE: &str = "\
usage: shop user|order|inventory|payment [--data DIR]   serve on $HOST:$PORT
       shop wait NAME…                                   until the services answer on $NAME_SERVICE_HOST:$NAME_SERVICE_PORT
       shop audit [--data DIR]                           print what happened as JSON; DIR or its subdirectories hold the files";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = Command::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

enum Command {
    Serve(&'static Service, PathBuf),
    Wait(Vec<String>),
    Audit(PathBuf),
}

impl Command {
    fn parse(arguments: &[String]) -> Option<Self> {
        let (name, rest) = arguments.split_first()?;
        if name == "wait" {
            return (!rest.is_empty()).then(|| Self::Wait(rest.to_vec()));
        }
        let data = match rest {
            [] => std::env::var_os("KAPELL_VOLUME_DATA").map_or_else(|| PathBuf::from("data"), PathBuf::from),
            [flag, directory] if flag == "--data" => PathBuf::from(directory),
            _ => return None,
        };
        if name == "audit" {
            return Some(Self::Audit(data));
        }
        let service = SERVICES.iter().find(|service| service.name == name)?;
        Some(Self::Serve(service, data))
    }

    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(service, data) => serve::run(service, &data),
            Self::Wait(names) => wait::run(&names),
            Self::Audit(data) => {
                // Whoever reads no further (`| head`) has seen enough.
                match writeln!(std::io::stdout(), "{:#}", audit(&data)?) {
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                    written => Ok(written?),
                }
            }
        }
    }
}

/// What each service whose file is in `data`, or in the directory of its name below, has done.
fn audit(data: &Path) -> anyhow::Result<Value> {
    let mut services = Map::new();
    for service in &SERVICES {
        let file = format!("{}.db", service.name);
        let places = [data.join(&file), data.join(service.name).join(&file)];
        if let Some(path) = places.iter().find(|path| path.exists()) {
            let ledger = Ledger::open(service, path.parent().context("a file has a directory")?)?;
            services.insert(service.name.to_owned(), ledger.audit()?);
        }
    }
    anyhow::ensure!(!services.is_empty(), "no service has kept anything in {}", data.display());
    Ok(Value::Object(services))
}
