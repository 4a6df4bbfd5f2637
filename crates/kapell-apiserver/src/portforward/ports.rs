//! Ports that are named beforehand: two channels and one connection for each.

use std::io;

use kapell_api::status::Status;
use tokio::task::JoinSet;

use super::{Out, Pod, TAKES_NOTHING};
use crate::channels::{self, Frame};
use crate::path::Query;
use crate::websocket::WebSocket;

pub(super) fn named(query: &Query) -> Result<Vec<u16>, Status> {
    let named = query.all("ports").flat_map(|list| list.split(','));
    let ports: Vec<u16> = named
        .map(|port| port.parse().ok().filter(|port| *port != 0))
        .collect::<Option<_>>()
        .ok_or_else(|| Status::bad_request("query parameter \"ports\" must name ports"))?;
    if ports.is_empty() || ports.len() > 100 {
        return Err(Status::bad_request("query parameter \"ports\" must name at least one port and at most 100"));
    }
    Ok(ports)
}

pub(super) async fn forward(socket: WebSocket, protocol: &str, ports: &[u16], pod: Pod) -> io::Result<()> {
    let (mut reader, writer) = channels::split(socket, protocol);
    // Dropped with this future: connections end with their client.
    let mut connections = JoinSet::new();
    let mut inputs = Vec::new();
    for (index, &port) in ports.iter().enumerate() {
        // At most 100 ports, see `named`.
        let (data, error) = (index as u8 * 2, index as u8 * 2 + 1);
        for channel in [data, error] {
            writer.send(channel, &port.to_le_bytes()).await?;
        }
        let (input, pieces) = pod.input();
        inputs.push(Some(input));
        let (out, told) = (writer.clone(), writer.clone());
        let connection = pod.clone().connection(port, pieces, move |piece| {
            let out = out.clone();
            async move {
                match piece {
                    Out::Data(bytes) => out.send(data, &bytes).await,
                    Out::End => Ok(()),
                }
            }
        });
        connections.spawn(async move {
            if let Err(text) = connection.await {
                let _ = told.send(error, text.as_bytes()).await;
            }
        });
    }
    let forwarding = async {
        loop {
            let frame = tokio::select! {
                frame = reader.next() => frame,
                // When every connection has ended, so has the WebSocket: that is how these clients learn of it.
                ended = connections.join_next() => match ended {
                    Some(_) => continue,
                    None => break,
                },
            };
            let Some(frame) = frame else { return };
            let (Frame::Data { channel, .. } | Frame::Closed { channel }) = frame;
            let Some(input) = inputs.get_mut(usize::from(channel / 2)).filter(|_| channel % 2 == 0) else { continue };
            let Frame::Data { data, .. } = frame else {
                *input = None;
                continue;
            };
            if let Some(open) = input
                && !open.send(data).await
                && let Some(stuck) = input.take()
            {
                stuck.quit(TAKES_NOTHING);
            }
        }
        writer.close().await;
        reader.drain().await;
    };
    tokio::select! {
        () = forwarding => {}
        () = writer.gone() => {}
    }
    Ok(())
}
