//! Secrets and egress rules, from the command line to the service and to the disk.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;

use kapell_e2e::{Caller, Kapell};

/// Answers each request with what it was asked, headers and all, and passes it on.
fn echo() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, sees) = mpsc::sync_channel(64); // more than a test asks for
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let seen = seen.clone();
            std::thread::spawn(move || while answer(stream.as_ref().unwrap(), &seen).is_some() {});
        }
    });
    (address, sees)
}

fn answer(mut stream: &TcpStream, seen: &mpsc::SyncSender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    loop {
        let before = request.len();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        if &request[before..] == "\r\n" {
            break;
        }
    }
    let length = request.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    request.push_str(&String::from_utf8_lossy(&body));
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{request}", request.len())
        .ok()?;
    seen.send(request).ok()
}

const VALUE: &str = "correct-horse-battery-staple";

/// Every file below the data directory, but those of the keys.
fn files_with(directory: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle)) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_reaches_the_service_and_nothing_else() {
    let (address, seen) = echo();
    let kapell = Kapell::start();
    let encoded = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==";
    let manifest = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: api}}\ndata: {{key: {encoded}, username: YWRh, password: {encoded}}}\n---\n\
         document: {{dsl: '1.0.3', namespace: default, name: call, version: '1.0.0'}}\n\
         use: {{secrets: [api]}}\n\
         do:\n\
         - kept: {{set: {{key: '${{ $secrets.api.key }}'}}, export: {{as: .}}}}\n\
         - call:\n    call: http\n    with: {{method: post, endpoint: {{uri: 'http://{address}/', authentication: {{basic: {{use: api}}}}}}, body: {{key: '${{ $context.key }}'}}}}\n    \
         output: {{as: '${{ {{answer: ., key: $context.key}} }}'}}\n"
    );
    kapell.cli_with_input(&["apply", "-f", "-"], &manifest).ok();
    let output = kapell.cli(&["workflow", "run", "call", "--name", "one", "--wait"]).ok().json();

    let request = seen.recv().unwrap();
    assert!(request.contains(&format!("{{\"key\":\"{VALUE}\"}}")), "{request}");
    assert!(request.contains("Basic YWRhOmNvcnJlY3QtaG9yc2UtYmF0dGVyeS1zdGFwbGU="), "{request}");
    assert_eq!(output["key"], "[secret api key]");
    let answer = output["answer"].as_str().unwrap();
    assert!(answer.contains("{\"key\":\"[redacted]\"}") && answer.contains("Basic [redacted]"), "{answer}");

    let shown = kapell.cli(&["workflow", "show", "one", "-o", "json"]).ok();
    assert!(!shown.stdout.contains(VALUE) && !shown.stdout.contains("kapell-secret-"), "{shown}");
    assert_eq!(files_with(&kapell.data(), VALUE.as_bytes()), Vec::<String>::new());
    // The basic credentials are a transformation of it.
    assert_eq!(files_with(&kapell.data(), b"YWRhOmNvcnJlY3Q"), Vec::<String>::new());

    let fault = "document: {dsl: '1.0.3', namespace: default, name: gone, version: '1.0.0'}\nuse: {secrets: [nowhere]}\ndo: [{a: {set: {}}}]\n";
    kapell.cli_with_input(&["apply", "-f", "-"], fault).ok();
    kapell
        .cli(&["workflow", "run", "gone", "--wait"])
        .exits(1)
        .says("there is no Secret `nowhere` in namespace default");
}

#[test]
fn egress_rules_are_kept() {
    let (address, seen) = echo();
    let caller = Caller::default()
        .with("KAPELL_EGRESS_ALLOW", "169.254.0.0/16")
        .with("KAPELL_EGRESS_DENY", "169.254.1.1,denied.example")
        .with("KAPELL_EGRESS_REWRITE", &format!("shop.example=http://{address}/for-shop"));
    let kapell = Kapell::start_by(caller);
    let call = |name: &str, uri: &str| {
        let workflow = format!(
            "document: {{dsl: '1.0.3', namespace: default, name: {name}, version: '1.0.0'}}\ndo: [{{a: {{call: http, with: {{method: get, endpoint: '{uri}'}}}}}}]\n"
        );
        kapell.cli_with_input(&["apply", "-f", "-"], &workflow).ok();
        kapell.cli(&["workflow", "run", name, "--wait"])
    };
    call("chosen", "https://shop.example/a?b=c").ok();
    let request = seen.recv().unwrap();
    assert!(request.starts_with("GET /for-shop/a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("\r\nhost: shop.example\r\n"), "{request}");

    call("literal", &format!("http://{address}/")).exits(1).says("it is this machine");
    call("named", &format!("http://localhost:{}/", address.port())).exits(1).says("it is this machine");
    call("private", "http://10.1.2.3/").exits(1).says("it is a private address");
    call("listed", "http://169.254.1.1/").exits(1).says("the server's egress rules deny it");
    call("name", "http://denied.example/").exits(1).says("the server's egress rules deny it");
    let running = std::fs::read_to_string(kapell.data().join("server.json")).unwrap();
    let running: serde_json::Value = serde_json::from_str(&running).unwrap();
    let api = running["api"].as_str().unwrap();
    call("api", &format!("https://{api}/")).exits(1).says("this server's own API");
    assert!(seen.try_recv().is_err(), "something was called");
}
