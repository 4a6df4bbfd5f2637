//! Commands beside a container: starting them in its surroundings, and ending those that nobody waits for.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{Supervisor, TERM};
use crate::exec::{self, Exec};
use crate::protocol::{Body, ContainerSpec, Streams};
use crate::spawn::Launch;

impl Supervisor {
    /// A probe or hook; an error is the answer.
    pub(super) fn exec(
        &mut self,
        client: u64,
        id: u64,
        name: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<(), Body> {
        let spec = self.spec_of_running(name)?;
        let (output, stdout, stderr) =
            exec::output_pipe().map_err(|error| Body::Failed { message: error.to_string() })?;
        let launch = self.launch_beside(&spec, command, [None, Some(stdout), Some(stderr)]);
        self.execs.push(Exec::start(client, id, timeout, output, launch).map_err(Body::Executed)?);
        Ok(())
    }

    /// A command with streams of the client's; an error is the answer.
    pub(super) fn open_session(
        &mut self,
        client: u64,
        id: u64,
        name: &str,
        command: &[String],
        streams: Streams,
    ) -> Result<(), Body> {
        let failed = |message: String| Body::Failed { message };
        // Taken in any case, so that they do not stay for another request.
        let connection = self.connections.iter_mut().find(|connection| connection.id == client);
        let descriptors = connection.and_then(|connection| connection.take_descriptors(streams.count()));
        let mut spec = self.spec_of_running(name)?;
        let descriptors =
            descriptors.ok_or_else(|| failed(format!("{} descriptors were to come along", streams.count())))?;
        let terminal = streams == Streams::Terminal;
        if terminal {
            spec.env.entry("TERM".to_owned()).or_insert_with(|| TERM.to_owned());
        }
        let stdio = assign(streams, descriptors).map_err(|error| failed(error.to_string()))?;
        let mut launch = self.launch_beside(&spec, command, stdio);
        launch.terminal = terminal;
        self.execs.push(Exec::start_session(client, id, launch).map_err(Body::Ended)?);
        Ok(())
    }

    /// Sessions end with the connection that asked for them: their streams have nobody at the other end.
    pub(super) fn hang_up_the_deserted(&mut self) {
        let connections = &self.connections;
        for exec in self.execs.iter_mut().filter(|exec| exec.is_session()) {
            if !connections.iter().any(|connection| connection.id == exec.client) {
                exec.hang_up();
            }
        }
    }

    fn spec_of_running(&self, name: &str) -> Result<ContainerSpec, Body> {
        if !self.containers.contains_key(name) {
            return Err(Body::Failed { message: format!("container \"{name}\" is not running") });
        }
        self.spec(name).ok_or_else(|| Body::Failed { message: format!("container \"{name}\" has no specification") })
    }

    fn launch_beside<'a>(
        &self,
        spec: &'a ContainerSpec,
        command: &'a [String],
        [stdin, stdout, stderr]: [Option<OwnedFd>; 3],
    ) -> Launch<'a> {
        Launch {
            command,
            env: &spec.env,
            cwd: &spec.cwd,
            marker: self.marker(&spec.name).into(),
            stdin,
            stdout,
            stderr,
            terminal: false,
            procs: self.containers.get(&spec.name).map(|running| running.group().open_procs()).unwrap_or_default(),
            data_limit: None,
            identity: &spec.identity,
        }
    }
}

/// Standard input, output and error of a session.
fn assign(streams: Streams, descriptors: Vec<OwnedFd>) -> std::io::Result<[Option<OwnedFd>; 3]> {
    let mut descriptors = descriptors.into_iter();
    match streams {
        Streams::Terminal => {
            let terminal = descriptors.next();
            let again = || terminal.as_ref().map(OwnedFd::try_clone).transpose();
            let (stdout, stderr) = (again()?, again()?);
            Ok([terminal, stdout, stderr])
        }
        Streams::Pipes { stdin, stdout, stderr } => {
            Ok([stdin, stdout, stderr].map(|wanted| if wanted { descriptors.next() } else { None }))
        }
    }
}
