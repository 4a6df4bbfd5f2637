//! One request over a connection that somebody else has opened: no endpoint is chosen and nothing is repeated.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::endpoint::Lease;
use crate::headers;

static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Counts as a request of the endpoint as long as it lives.
pub struct EndpointLease {
    pub(crate) _lease: Lease,
}

/// A connection to an endpoint of a Service.
pub struct EndpointConnection {
    pub stream: TcpStream,
    pub lease: EndpointLease,
}

/// Sends a request that came in by HTTPS, and returns the answer as the client may have it. Where both sides agree on another
/// protocol (WebSocket and the like), `keep` lives and the bytes go to and fro until one of them is done, or until `shutdown`.
///
/// # Errors
/// There is no answer, or it is not HTTP/1.1.
pub async fn pass<S, B, K>(
    stream: S,
    mut request: Request<B>,
    client: Option<IpAddr>,
    keep: K,
    shutdown: CancellationToken,
) -> hyper::Result<(Response<Incoming>, Option<K>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    K: Send + 'static,
{
    let upgrade = headers::wanted_upgrade(request.headers());
    let client_side = request.extensions_mut().remove::<OnUpgrade>();
    request.headers_mut().insert(FORWARDED_PROTO.clone(), HeaderValue::from_static("https"));
    headers::prepare_request(&mut request, client.and_then(headers::client_value).as_ref());
    headers::origin_form(&mut request);
    let upgrade = upgrade.zip(client_side).map(|(protocol, client_side)| {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, protocol);
        client_side
    });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, or is taken over by both sides.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a connection that requests are passed on by ended"
            );
        }
    });
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::strip_hop_by_hop(response.headers_mut());
        return Ok((response, Some(keep)));
    }
    let pod_side = hyper::upgrade::on(&mut response);
    if let Some(client_side) = upgrade {
        tokio::spawn(async move {
            let _keep = keep;
            let copy = async {
                let (client, pod) = tokio::try_join!(client_side, pod_side).map_err(std::io::Error::other)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(pod)).await
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                copied = copy => if let Err(error) = copied {
                    tracing::debug!(error = &error as &dyn std::error::Error, "tunnel ended");
                },
            }
        });
    }
    Ok((response, None))
}
