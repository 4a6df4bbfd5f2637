use kapell_store::memory::MemoryStore;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::Config;
use crate::pki::Pki;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// `END_STREAM | END_HEADERS` of a request.
const WHOLE: u8 = 5;

/// As much of HTTP/2 as a rude client needs: it asks once and then says nothing, not even to a ping.
struct RudeClient(TlsStream<TcpStream>);

impl RudeClient {
    async fn connect(address: std::net::SocketAddr, pki: &Pki) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        self.0.write_all(&[&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()).await.unwrap();
    }

    /// Asks for a path, with room for so many bytes of the answer, and reads up to the first frame of the kind.
    async fn ask(&mut self, path: &str, token: Option<&str>, window: u32, until: u8) {
        self.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let setting = [&[0, 4], window.to_be_bytes().as_slice()].concat();
        self.send(SETTINGS, 0, 0, &setting).await;
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        // GET, https, and by number `:authority`, `:path` and `authorization` with what follows.
        let mut block = [&[0x82, 0x87, 0x01][..], &text("localhost"), &[0x04], &text(path)].concat();
        if let Some(token) = token {
            block.extend([&[0x0f, 0x08][..], &text(&format!("Bearer {token}"))].concat());
        }
        self.send(HEADERS, WHOLE, 1, &block).await;
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            self.0.read_exact(&mut vec![0; length as usize]).await.unwrap();
            if head[3] == until {
                return;
            }
        }
    }
}

/// Neither who does not take an answer nor who does not answer pings keeps a place for long.
#[tokio::test]
async fn a_rude_client_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), jiff::Zoned::now().date(), &[]).unwrap();
    let server = ApiServer::new(Config::new("secret"), Arc::new(MemoryStore::new())).await.unwrap();
    let (open, shutdown) = (Arc::<OpenConnections>::default(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (path, token, window, until) in
        [("/healthz", None, 0, HEADERS), ("/healthz", None, 65_535, DATA), ("/api", Some("secret"), 65_535, DATA)]
    {
        let mut client = std::pin::pin!(RudeClient::connect(listener.local_addr().unwrap(), &pki));
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            _ = client.as_mut() => unreachable!("nobody shakes hands yet"),
        };
        let connection = open.add(&shutdown);
        let (tls, shutdown) = (pki.server_config().unwrap(), shutdown.clone());
        let served = tokio::spawn({
            let server = server.clone();
            async move { drop(serve_connection(server, stream, tls, shutdown, connection).await) }
        });
        let mut client = client.await;
        client.ask(path, token, window, until).await;
        // Far less than the time after which an unanswered ping ends a connection.
        let room = tokio::time::timeout(Duration::from_secs(15), open.make_room(1)).await;
        assert!(room.is_ok(), "{path} {token:?} with a window of {window} keeps others out");
        served.await.unwrap();
    }
}
