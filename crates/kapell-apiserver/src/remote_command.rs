//! `pods/exec` and `pods/attach` as clients speak them: the numbers of the channels, and the last word about how it went.
//!
//! What runs, and where, is the business of whoever answers the subresource.

use std::io;

use axum::body::Body;
use http::Response;
use kapell_api::status::Status;
use serde_json::{Value, json};

use crate::ConnectRequest;
use crate::channels::{self, ChannelReader, ChannelWriter, PROTOCOLS};

/// The channels of a remote command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// The outcome, as a `Status`.
    Outcome = 3,
    /// `{"Width": …, "Height": …}` in characters.
    Resize = 4,
}

/// The streams of one `exec` or `attach`.
pub struct RemoteCommand {
    pub reader: ChannelReader,
    pub writer: ChannelWriter,
}

impl RemoteCommand {
    /// Tells the outcome and ends the conversation.
    pub async fn finish(self, outcome: &Value) {
        if self.writer.send(Channel::Outcome as u8, outcome.to_string().as_bytes()).await.is_ok() {
            self.writer.close().await;
            self.reader.drain().await;
        }
    }
}

/// Grants the WebSocket that an `exec` or `attach` needs; the future has its streams once the answer has been sent.
///
/// # Errors
/// The client does not ask for a WebSocket, or for none of our protocols.
pub fn remote_command(
    request: &mut ConnectRequest,
) -> Result<(Response<Body>, impl Future<Output = io::Result<RemoteCommand>> + Send + use<>), Status> {
    let upgrade = request.upgrade.lock().take().ok_or_else(|| {
        Status::bad_request(
            "Upgrade request required: this server speaks WebSocket (v5 and v4.channel.k8s.io), not SPDY",
        )
    })?;
    let protocol = upgrade.choose(&PROTOCOLS)?;
    let (response, opened) = upgrade.accept(protocol);
    let streams = async move {
        let (reader, writer) = channels::split(opened.await?, protocol);
        Ok(RemoteCommand { reader, writer })
    };
    Ok((response, streams))
}

/// The `Status` for a command that has ended with `code`, as `kubectl` reads it.
pub fn outcome(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}
