//! `exec`, `attach`, `cp`, `port-forward` and `logs` with the real kubectl and with our own command line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use kapell_e2e::{Forward, Kapell, Ran, eventually, kubectl_binary, need_kubectl, run, skip};

const WEB: &str = include_str!("files/web.yaml");

/// Says what it hears, and where it is.
const ECHO: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: echo}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    stdin: true
    env: [{name: GREETING, value: hello}]
    command: [sh, -c, 'echo up; while read line; do echo "heard $line"; echo "error $line" >&2; done']
"#;

fn with_echo() -> Kapell {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], ECHO).ok();
    eventually("the pod runs", || (kapell.object("default", "pod/echo")["status"]["phase"] == "Running").then_some(()));
    kapell
}

/// A client's name, and what makes a command of its arguments.
type Program<'a> = (&'static str, Box<dyn Fn(&[&str]) -> Command + 'a>);

/// The same words for either program.
fn both(kapell: &Kapell) -> Vec<Program<'_>> {
    let own = |words: &[&str]| {
        let mut command = kapell.command();
        // Ours go first: what follows `--` is not ours.
        command.arg("--data").arg(kapell.data()).args(words);
        command
    };
    let mut programs: Vec<Program<'_>> = vec![("kapell", Box::new(own))];
    if kubectl_binary().is_some() {
        programs.push(("kubectl", Box::new(|words: &[&str]| kapell.kubectl_command(words))));
    }
    programs
}

/// A program whose input is given and whose output is told by its checksum.
fn piped(mut command: Command, input: Vec<u8>) -> (Option<i32>, Vec<u8>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    (output.status.code(), output.stdout)
}

#[test]
fn exec_runs_beside_the_container_and_tells_how_it_ended() {
    let kapell = with_echo();
    for (program, command) in both(&kapell) {
        let exec = |words: &[&str]| -> Ran { run(command(&[&["exec", "echo", "--"], words].concat()), None) };
        let said = exec(&["sh", "-c", "echo $GREETING; pwd; echo no >&2; exit 7"]).exits(7);
        assert!(
            said.stdout.starts_with("hello\n/") && said.stdout.contains("/containers/main/work"),
            "{program} {said}"
        );
        assert!(said.stderr.starts_with("no\n"), "{program} {said}");
        exec(&["true"]).ok();
        exec(&["no-such-program"]).exits(127).says("not found");
        exec(&["sh", "-c", "kill -9 $$"]).exits(137);
        run(command(&["exec", "echo", "-c", "other", "--", "true"]), None).exits(1).says("other");
    }
}

#[test]
fn exec_carries_ten_megabytes_both_ways() {
    let kapell = with_echo();
    let mut bytes = vec![0; 10 << 20];
    rand::Rng::fill(&mut rand::rng(), &mut bytes[..]);
    for (program, command) in both(&kapell) {
        let (code, back) = piped(command(&["exec", "-i", "echo", "--", "cat"]), bytes.clone());
        assert_eq!(code, Some(0), "{program}");
        assert!(back == bytes, "{program}: {} bytes came back, not the same", back.len());
    }
}

#[test]
fn exec_has_a_terminal_for_those_who_have_one() {
    need_kubectl!();
    let kapell = with_echo();
    // `script` gives the client a terminal, which the client's size goes along with.
    let Ok(found) = Command::new("script").arg("--version").output() else { skip!("no `script` program") };
    assert!(found.status.success());
    let inner = "stty rows 33 cols 77; kubectl exec -it echo -- sh -c 'tty; stty size; echo $TERM'";
    let kubectl = kubectl_binary().unwrap();
    let inner = inner.replace("kubectl", &kubectl.display().to_string());
    let mut command = Command::new("script");
    command
        .args(["-qec", &inner, "/dev/null"])
        .env("KUBECONFIG", kapell.data().join("kubeconfig"))
        .env("SHELL", "/bin/sh");
    let ran = run(command, None).ok();
    assert!(ran.stdout.contains("/dev/pts/"), "{ran}");
    eventually("the size arrives", || {
        let mut again = Command::new("script");
        again.args(["-qec", &inner, "/dev/null"]).env("KUBECONFIG", kapell.data().join("kubeconfig"));
        run(again, None).stdout.contains("33 77").then_some(())
    });
}

#[test]
fn debug_has_a_terminal_beside_its_target() {
    need_kubectl!();
    let kapell = with_echo();
    if Command::new("script").arg("--version").output().is_err() {
        skip!("no `script` program");
    }
    let debug = "debug echo -it --image=none --target=main -c look -- sh";
    let mut command = Command::new("script");
    command
        .args(["-qec", &format!("{} {debug}", kubectl_binary().unwrap().display()), "/dev/null"])
        .env("KUBECONFIG", kapell.data().join("kubeconfig"))
        .env("SHELL", "/bin/sh");
    // What is typed is shown, too; what it comes to is not in it.
    let typed =
        "test -t 0 && test -t 1 && echo $((40 + 2)) $GREETING; kill -0 $KAPELL_TARGET_PID && echo lives-$?; exit\n";
    let ran = run(command, Some(typed)).ok();
    assert!(ran.stdout.contains("42 hello") && ran.stdout.contains("lives-0"), "{ran}");
    let pod = kapell.object("default", "pod/echo");
    let ended = &pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 0, "{pod}");
}

#[test]
fn a_client_that_goes_takes_its_command_along() {
    let kapell = with_echo();
    for (_, command) in both(&kapell) {
        let mut child = command(&["exec", "echo", "--", "sh", "-c", "echo $$; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the command ends", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    }
    assert_eq!(kapell.object("default", "pod/echo")["status"]["containerStatuses"][0]["restartCount"], 0);
}

/// What a command leaves in the background may write for ever; the session has ended all the same.
#[test]
fn a_session_ends_with_its_command() {
    let kapell = with_echo();
    for (program, command) in both(&kapell) {
        let shell = "exec 3>&1; (trap '' HUP; while echo noise; do :; done) >&3 2>/dev/null & echo $!; exit 7";
        let ran = run(command(&["exec", "echo", "--", "sh", "-c", shell]), None);
        assert_eq!(ran.code, Some(7), "{program}: {}", ran.stderr);
        let pid = ran.stdout.lines().find_map(|line| line.parse::<i32>().ok()).expect("the noisy one says who it is");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

#[test]
fn attach_speaks_with_the_container_itself() {
    let kapell = with_echo();
    for (program, command) in both(&kapell) {
        let mut child = command(&["attach", "-i", "echo"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        writeln!(stdin, "{program}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("heard {program}"));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    kapell.cli(&["logs", "echo"]).ok().says("heard kapell");
}

#[test]
fn cp_copies_files_and_directories_both_ways() {
    need_kubectl!();
    let kapell = with_echo();
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    std::fs::create_dir(path("out")).unwrap();
    std::fs::write(path("out/data"), &bytes).unwrap();
    kapell.kubectl(&["cp", &path("out"), "echo:in"]).ok();
    kapell.kubectl(&["exec", "echo", "--", "wc", "-c", "in/data"]).ok().says("3000000");
    kapell.kubectl(&["cp", "echo:in/data", &path("back")]).ok();
    assert!(std::fs::read(path("back")).unwrap() == bytes);
}

#[test]
fn port_forward_carries_traffic_to_pods_and_services_also_of_the_next_server() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], WEB).ok();
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
    for round in 0..2 {
        for (program, command) in both(&kapell) {
            let forward = Forward::start(command(&["port-forward", "service/web", ":8080"]));
            for _ in 0..20 {
                let answer = forward.get().unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{program}: {answer}");
            }
            // Several at a time share one WebSocket.
            std::thread::scope(|scope| {
                let gets: Vec<_> = (0..8).map(|_| scope.spawn(|| forward.get().unwrap())).collect();
                gets.into_iter().for_each(|get| assert!(get.join().unwrap().starts_with("HTTP/1.1 200"), "{program}"));
            });
        }
        if round == 0 {
            kapell.kill();
            kapell.restart();
        }
    }
}

const TALKER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  runtimeClassName: process
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    command: [sh, -c, 'if [ -e again ]; then echo second; sleep 0.2; exit 0; fi; touch again; i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo line $i; done; exit 1']
  - name: side
    command: [sh, -c, 'echo aside']
"#;

#[test]
fn logs_have_all_their_options() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], TALKER).ok();
    eventually("both have ended well", || {
        (kapell.object("default", "pod/talker")["status"]["phase"] == "Succeeded").then_some(())
    });
    for (program, command) in both(&kapell) {
        let logs = |words: &[&str]| run(command(&[&["logs", "talker"], words].concat()), None).ok().stdout;
        assert_eq!(logs(&["-c", "main"]), "second\n", "{program}");
        assert_eq!(logs(&["-c", "main", "-f"]), "second\n", "{program}: a log that has ended ends");
        let previous = |words: &[&str]| logs(&[&["-c", "main", "--previous"], words].concat());
        assert_eq!(previous(&[]), "line 1\nline 2\nline 3\nline 4\nline 5\n", "{program}");
        assert_eq!(previous(&["--tail=2"]), "line 4\nline 5\n", "{program}");
        assert_eq!(previous(&["--limit-bytes=8"]), "line 1\nl", "{program}");
        assert_eq!(previous(&["--since-time=2100-01-01T00:00:00Z"]), "", "{program}");
        assert_eq!(previous(&["--since=1h", "--tail=1"]), "line 5\n", "{program}");
        let stamped = previous(&["--timestamps", "--tail=1"]);
        assert!(stamped.starts_with("20") && stamped.ends_with("Z line 5\n"), "{program}: {stamped}");
        let all = logs(&["--all-containers", "--prefix"]);
        assert!(all.contains("[pod/talker/main] second\n"), "{program}: {all}");
        assert!(all.contains("[pod/talker/side] aside\n"), "{program}: {all}");
    }
}

/// A log that is followed goes on with the next start of its container.
#[test]
fn a_followed_log_survives_a_restart() {
    let kapell = Kapell::start();
    let place = tempfile::tempdir().unwrap();
    let followed = place.path().join("followed");
    let waits = format!("echo first; until [ -e {} ]; do sleep 0.05; done; i=0;", followed.display());
    kapell.cli_with_input(&["apply", "-f", "-"], &TALKER.replace("i=0;", &waits)).ok();
    eventually("it runs", || {
        kapell.object("default", "pod/talker")["status"]["containerStatuses"][0]["started"].as_bool().filter(|s| *s)
    });
    let mut follow = kapell.command();
    follow.arg("--data").arg(kapell.data()).args(["logs", "-f", "talker", "-c", "main"]).stdout(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut said = BufReader::new(follow.stdout.take().unwrap());
    let mut text = String::new();
    said.read_line(&mut text).unwrap();
    std::fs::write(followed, "").unwrap();
    said.read_to_string(&mut text).unwrap();
    assert!(follow.wait().unwrap().success());
    assert_eq!(text, "first\nline 1\nline 2\nline 3\nline 4\nline 5\nsecond\n");
}

/// Burns what it can get of a processor.
const BUSY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    resources: {limits: {cpu: 200m}}
    command: [sh, -c, 'while :; do :; done']
"#;

#[test]
fn top_shows_what_pods_and_nodes_use() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], BUSY).ok();
    let cpu = eventually("the pod is measured", || {
        let ran = kapell.kubectl(&["top", "pods", "--no-headers"]);
        let line = ran.stdout.lines().find(|line| line.starts_with("busy"))?.to_owned();
        line.split_whitespace().nth(1)?.strip_suffix('m')?.parse::<u64>().ok().filter(|milli| *milli > 0)
    });
    assert!(cpu > 0);
    let raw = |path: &str| kapell.kubectl(&["get", "--raw", &format!("/apis/metrics.k8s.io/v1beta1/{path}")]);
    let pod = raw("namespaces/default/pods/busy").ok().json();
    assert_eq!((&pod["kind"], &pod["containers"][0]["name"]), (&"PodMetrics".into(), &"main".into()), "{pod}");
    assert!(pod["containers"][0]["usage"]["memory"].as_str().unwrap().ends_with("Ki"), "{pod}");
    let selected = raw("pods?labelSelector=app%3Dother").ok().json();
    assert_eq!(selected["items"], serde_json::json!([]));
    raw("namespaces/default/pods/none").exits(1).says("not found");
    kapell.kubectl(&["top", "nodes"]).ok().says("%");
    kapell.kubectl(&["api-resources", "--api-group=metrics.k8s.io"]).ok().says("PodMetrics");
}
