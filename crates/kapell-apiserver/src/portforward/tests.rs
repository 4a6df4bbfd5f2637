use std::convert::Infallible;

use flate2::{Compress, Compression, FlushCompress};
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::*;
use crate::spdy::{self, Decoder, Frame};
use crate::websocket::Upgrade;

type Client = WebSocketStream<DuplexStream>;

/// Ports of the pod: one that repeats what it hears, and one that takes nothing.
const ECHO: u16 = 7;
const STUCK: u16 = 9;

fn pod() -> Pod {
    let dial: Dial = Arc::new(|port| {
        Box::pin(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let stream = TcpStream::connect(listener.local_addr()?).await?;
            let (mut accepted, _) = listener.accept().await?;
            tokio::spawn(async move {
                if port == STUCK {
                    return std::future::pending().await;
                }
                let (mut reader, mut writer) = accepted.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
            Ok(stream)
        })
    });
    Pod { dial, patience: Duration::from_millis(200) }
}

/// A client, and what serves it.
async fn connect(protocol: &'static str, ports: &'static [u16]) -> (Client, JoinHandle<io::Result<()>>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (started, serving) = oneshot::channel();
    let started = parking_lot::Mutex::new(Some(started));
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut head, _) = request.into_parts();
        let upgrade = Upgrade::wanted(&mut head, &Arc::new(Semaphore::new(1))).unwrap().unwrap();
        let (response, opened) = upgrade.accept(protocol);
        let forwarding = tokio::spawn(async move { forward(opened.await?, protocol, ports, pod()).await });
        let _ = started.lock().take().unwrap().send(forwarding);
        async move { Ok::<_, Infallible>(response) }
    });
    let server = hyper::server::conn::http1::Builder::new();
    tokio::spawn(server.serve_connection(TokioIo::new(far), service).with_upgrades());
    let mut request = "ws://pod/".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let (client, _) = tokio_tungstenite::client_async(request, near).await.unwrap();
    (client, serving.await.unwrap())
}

/// kubectl's side of the tunnel.
struct Spdy {
    client: Client,
    decoder: Decoder,
    packer: Compress,
    begun: bool,
}

impl Spdy {
    async fn start() -> (Self, JoinHandle<io::Result<()>>) {
        let (client, serving) = connect(SPDY, &[]).await;
        (
            Self { client, decoder: Decoder::new(), packer: Compress::new(Compression::fast(), false), begun: false },
            serving,
        )
    }

    async fn send(&mut self, frame: Bytes) {
        self.client.send(Message::Binary(frame)).await.unwrap();
    }

    async fn open(&mut self, stream: u32, kind: &str, connection: u32, port: u16, fin: bool) {
        let (connection, port) = (connection.to_string(), port.to_string());
        let words = ["streamtype", kind, "requestid", &connection, "port", &port];
        let mut block = 3_u32.to_be_bytes().to_vec();
        for word in words {
            block.extend((word.len() as u32).to_be_bytes());
            block.extend(word.as_bytes());
        }
        // A zlib stream that begins with SPDY's dictionary, of which it makes no use.
        let mut packed = if self.begun { Vec::new() } else { vec![0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2] };
        packed.reserve(1024);
        self.begun = true;
        self.packer.compress_vec(&block, &mut packed, FlushCompress::Sync).unwrap();
        let mut frame = vec![0x80, 3, 0, 1];
        frame.extend(((u32::from(fin)) << 24 | (packed.len() + 10) as u32).to_be_bytes());
        frame.extend(stream.to_be_bytes());
        frame.extend([0; 6]);
        frame.extend(packed);
        self.send(frame.into()).await;
    }

    /// A connection whose data stream is `stream`, and whose error stream is the next but one.
    async fn pair(&mut self, stream: u32, port: u16) {
        self.open(stream + 2, "error", stream, port, true).await;
        self.open(stream, "data", stream, port, false).await;
    }

    /// Everything up to the first data on this stream, which it returns.
    async fn data_on(&mut self, wanted: u32) -> Bytes {
        loop {
            while let Some(frame) = self.decoder.next().unwrap() {
                match frame {
                    Frame::Data { stream, data, .. } if stream == wanted => return data,
                    _ => {}
                }
            }
            match self.client.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => self.decoder.push(&bytes),
                _ => continue,
            }
        }
    }

    /// More than sockets and queue hold.
    async fn flood(&mut self, stream: u32) {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..16 {
            self.send(spdy::data(stream, &piece, false)).await;
        }
    }

    async fn echoes(&mut self, stream: u32) {
        self.pair(stream, ECHO).await;
        self.send(spdy::data(stream, b"hello", false)).await;
        assert_eq!(self.data_on(stream).await, "hello");
    }
}

#[tokio::test]
async fn a_pod_that_takes_nothing_loses_its_connection_and_the_others_go_on() {
    let (mut spdy, serving) = Spdy::start().await;
    spdy.pair(1, STUCK).await;
    spdy.flood(1).await;
    let told = spdy.data_on(3).await;
    assert_eq!(told, format!("error forwarding port {STUCK} to the pod: {TAKES_NOTHING}"));
    spdy.echoes(5).await;
    drop(spdy);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_without_a_partner_holds_up_nobody() {
    let (mut spdy, serving) = Spdy::start().await;
    spdy.open(1, "data", 1, ECHO, false).await;
    spdy.flood(1).await;
    spdy.echoes(3).await;
    drop(spdy);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_may_have_nothing_to_say() {
    let (mut spdy, _serving) = Spdy::start().await;
    spdy.open(3, "error", 1, ECHO, true).await;
    spdy.open(1, "data", 1, ECHO, true).await;
    assert_eq!(spdy.data_on(1).await, "", "the pod hears the end and ends, too");
}

#[tokio::test]
async fn a_client_gives_up_one_connection() {
    let (mut spdy, _serving) = Spdy::start().await;
    spdy.pair(1, STUCK).await;
    spdy.send(spdy::refuse(1)).await;
    assert!(spdy.data_on(3).await.ends_with(b"the client has given it up"));
    spdy.echoes(5).await;
}

#[tokio::test]
async fn named_ports_do_not_wait_for_each_other_for_long() {
    let (mut client, serving) = connect(PROTOCOLS[0], &[STUCK, ECHO]).await;
    let piece = vec![0; 1 << 20];
    for _ in 0..16 {
        client.send(Message::Binary(piece.clone().into())).await.unwrap();
    }
    client.send(Message::Binary(Bytes::from_static(b"\x02hello"))).await.unwrap();
    let (mut told, mut heard) = (false, false);
    while !(told && heard) {
        let Message::Binary(bytes) = client.next().await.unwrap().unwrap() else { continue };
        told |= bytes[0] == 1 && bytes.ends_with(TAKES_NOTHING.as_bytes());
        heard |= bytes == b"\x02hello".as_slice();
    }
    drop(client);
    serving.await.unwrap().unwrap();
}
