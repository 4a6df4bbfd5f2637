//! Documents, inputs and services that mean no good: each is bounded and refused by name, and a run beside it finishes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use kapell_e2e::{Kapell, eventually};
use serde_json::{Value, json};

const BYSTANDER: &str = r#"
document: {dsl: '1.0.3', namespace: default, name: bystander, version: '1.0.0'}
do:
- count: {for: {in: '[range(20)]'}, do: [{add: {set: {n: '${ (.n // 0) + 1 }'}}}, {rest: {wait: {milliseconds: 5}}}]}
"#;

fn apply(kapell: &Kapell, name: &str, tasks: &str) {
    let document =
        format!("document: {{dsl: '1.0.3', namespace: default, name: {name}, version: '1.0.0'}}\ndo: {tasks}\n");
    kapell.cli_with_input(&["apply", "-f", "-"], &document).ok();
}

/// Its name, its tasks, and what is said of its end.
type Hostile<'t> = (&'t str, String, &'t [&'t str]);

/// Starts all of them and a bystander beside each; each faults as it says, and no bystander notices.
fn check(kapell: &Kapell, table: &[Hostile]) {
    kapell.cli_with_input(&["apply", "-f", "-"], BYSTANDER).ok();
    for (name, tasks, _) in table {
        apply(kapell, name, tasks);
        kapell.cli(&["workflow", "run", name, "--name", name]).ok();
        kapell.cli(&["workflow", "run", "bystander", "--name", &format!("beside-{name}")]).ok();
    }
    for (name, ..) in table {
        let beside = kapell.cli(&["workflow", "wait", &format!("beside-{name}")]).ok().json();
        assert_eq!(beside, json!({"n": 20}), "beside {name}");
    }
    for (name, _, said) in table {
        let ended = kapell.cli(&["workflow", "wait", name]).exits(1);
        said.iter().fold(ended, |ended, words| ended.says(words));
    }
}

#[test]
fn expressions_are_bounded() {
    let expression = |code: &str| format!("[{{a: {{set: {{x: '${{ {code} }}'}}}}}}]");
    let table: &[Hostile] = &[
        ("endless", expression("until(false; .)"), &["set", "the expression takes"]),
        ("recursion", expression("def f: [f]; f"), &["set", "the expression"]),
        ("combinations", expression("[range(1000)] | [., ., ., .] | [combinations] | length"), &["Expression error"]),
        ("deep", expression("reduce range(100000) as $i (null; [.])"), &["nested more than"]),
        ("repeated", expression("\"x\" * 1000000000"), &["too large"]),
        ("range", expression("[range(1000000000000)]"), &["the expression"]),
        ("doubling", expression("reduce range(100) as $i (\"x\"; . + .)"), &["too large"]),
        ("squares", expression("reduce range(100) as $i ([0]; . + .)"), &["Expression error"]),
        ("sorted", expression("[limit(3000000; repeat(\"x\" * 1000))] | sort | length"), &["Expression error"]),
    ];
    check(&Kapell::start(), table);
}

/// Answers every connection by what `answer` writes; those threads end with the test.
fn service(answer: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                answer(stream);
            });
        }
    });
    address
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";

#[test]
fn services_are_bounded() {
    let silent = service(|stream| {
        // Until the other side gives up.
        let mut stream = stream;
        let _ = stream.read(&mut [0]);
    });
    let garbage = service(|mut stream| {
        write(&mut stream, b"\x00\xff\x13 no such protocol\r\n\r\n");
    });
    let endless = service(|mut stream| {
        let mut open = write(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n");
        while open {
            open = write(&mut stream, &[b'x'; 65_536]);
        }
    });
    let headers = service(|mut stream| {
        let mut open = write(&mut stream, b"HTTP/1.1 200 OK\r\n");
        while open {
            open = write(&mut stream, b"x-more: and more and more and more and more and more\r\n");
        }
    });
    let deep = service(|mut stream| {
        write(&mut stream, JSON);
        write(&mut stream, "[".repeat(1 << 20).as_bytes());
    });
    let half = service(|mut stream| {
        write(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this");
    });
    let elsewhere = service(|mut stream| {
        write(
            &mut stream,
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data\r\ncontent-length: 0\r\n\r\n",
        );
    });
    let call = |address: SocketAddr, more: &str| {
        format!("[{{a: {{call: http, with: {{method: get, endpoint: 'http://{address}/'}}{more}}}}}]")
    };
    let table: &[Hostile] = &[
        ("silent", call(silent, ", timeout: {after: {seconds: 2}}"), &["a", "not done after"]),
        ("garbage", call(garbage, ""), &["502"]),
        ("endless", call(endless, ""), &["502", "broke off"]),
        ("headers", call(headers, ", timeout: {after: {seconds: 20}}"), &["step a"]),
        ("deep", call(deep, ""), &["502", "not JSON"]),
        ("half", call(half, ""), &["502"]),
        ("elsewhere", call(elsewhere, ""), &["302"]),
        (
            "metadata",
            "[{a: {call: http, with: {method: get, endpoint: 'http://169.254.169.254/latest'}}}]".to_owned(),
            &["403"],
        ),
    ];
    check(&Kapell::start(), table);
}

/// Runs that never wait leave room for the others. (Those that start each other are in `run.rs`.)
#[test]
fn runs_that_never_rest_leave_room() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], BYSTANDER).ok();
    apply(&kapell, "spin", "[{a: {set: {n: 1}, then: b}}, {b: {set: {n: 2}, then: a}}]");
    for number in 0..2 {
        kapell.cli(&["workflow", "run", "spin", "--name", &format!("spin-{number}")]).ok();
    }
    for _ in 0..3 {
        let output = kapell.cli(&["workflow", "run", "bystander", "--wait"]).ok().json();
        assert_eq!(output, json!({"n": 20}));
    }
    // Unless they have come to the most steps that a run may take.
    kapell.cli(&["workflow", "cancel", "--workflow", "spin"]);
    for number in 0..2 {
        let ended = kapell.cli(&["workflow", "wait", &format!("spin-{number}")]).exits(1);
        assert!(ended.stderr.contains("cancelled") || ended.stderr.contains("which is the limit"), "{ended}");
    }
}

/// What is too large is refused where it comes in, and says so.
#[test]
fn inputs_are_bounded() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], BYSTANDER).ok();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("a file");
        format!("@{}", path.display())
    };
    let long = file("long.json", &json!({"x": "x".repeat(8 << 20)}).to_string());
    // The server may hang up before all of it is sent, and then there is nobody to read the answer.
    kapell.cli(&["workflow", "run", "bystander", "--input", &long]).exits(1);
    let deep = file("deep.json", &format!("{}{}", "[".repeat(120), "]".repeat(120)));
    kapell.cli(&["workflow", "run", "bystander", "--input", &deep, "--wait"]).exits(1).says("nested");
    let event = json!({"x": "x".repeat(300 << 10)}).to_string();
    let event = file("event.json", &event);
    kapell
        .cli(&["workflow", "emit", "--type", "a", "--source", "/e2e", "--payload", &event])
        .exits(1)
        .says("bytes as JSON, and 262144 are allowed");
    let output: Value = kapell.cli(&["workflow", "run", "bystander", "--wait"]).ok().json();
    assert_eq!(output, json!({"n": 20}));
    eventually("the server has not moved", || (kapell.cli(&["get", "workflows"]).code == Some(0)).then_some(()));
}
