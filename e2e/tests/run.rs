//! `run` against the real server: child runs and processes, across kills, and where they are not allowed.

use kapell_e2e::{Caller, Kapell, eventually};
use serde_json::json;

const PARENT: &str = r#"
document: {dsl: '1.0.0', namespace: default, name: parent, version: '1.0.0'}
do:
- both:
    for: {in: "[1, 2]"}
    do:
    - child: {run: {workflow: {name: child, version: '1.0.0', input: {n: "${ $item }"}}}, output: {as: "${ . }"}}
"#;

const CHILD: &str = r#"
document: {dsl: '1.0.0', namespace: default, name: child, version: '1.0.0'}
do:
- pause: {wait: {milliseconds: 700}}
- double: {set: {n: "${ .n * 2 }"}}
"#;

const SLOW: &str = r#"
document: {dsl: '1.0.0', namespace: default, name: slow, version: '1.0.0'}
do:
- child: {run: {workflow: {name: sleeper, version: latest}}}
---
document: {dsl: '1.0.0', namespace: default, name: sleeper, version: '1.0.0'}
do:
- pause: {wait: {hours: 1}}
---
document: {dsl: '1.0.0', namespace: default, name: failing, version: '1.0.0'}
do:
- child: {run: {workflow: {name: broken, version: '1.0.0'}}}
---
document: {dsl: '1.0.0', namespace: default, name: broken, version: '1.0.0'}
do:
- fail: {raise: {error: {type: 'https://example.com/broken', status: 418, title: Teapot, detail: no coffee}}}
---
document: {dsl: '1.0.0', namespace: default, name: endless, version: '1.0.0'}
do:
- again: {run: {workflow: {name: endless, version: '1.0.0'}}}
---
document: {dsl: '1.0.0', namespace: default, name: stale, version: '1.0.0'}
do:
- old: {run: {workflow: {name: broken, version: '0.9.0'}}}
"#;

const PROCESSES: &str = r#"
document: {dsl: '1.0.0', namespace: default, name: processes, version: '1.0.0'}
do:
- hello: {run: {shell: {command: 'echo "Hello, $WHO"; echo aside >&2', environment: {WHO: "${ .name }"}}}, export: {as: '{hello: .}'}}
- argued: {run: {shell: {command: 'printf "%s|"', arguments: [a b, 'c$(d)']}}, export: {as: '$context + {argued: .}'}}
- counted: {run: {shell: {command: wc -c, stdin: twelve bytes}, return: all}, export: {as: '$context + {counted: (.stdout | tonumber), code: .code}'}}
- coded: {run: {shell: {command: exit 3}, return: code}, export: {as: '$context + {coded: .}'}}
- python: {run: {script: {language: python, code: 'print(n * 2)', arguments: {n: 21}}}, export: {as: '$context + {python: .}'}}
- caught:
    try: [{bad: {run: {shell: {command: 'echo went wrong >&2; exit 7'}}}}]
    catch: {as: e, do: [{note: {set: "${ $context + {error: $e.detail} }"}}]}
"#;

#[test]
fn children_run_once_across_a_kill() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], CHILD).ok();
    kapell.cli_with_input(&["apply", "-f", "-"], PARENT).ok();
    kapell.cli(&["workflow", "run", "parent", "--name", "only"]).ok();
    let children = |kapell: &Kapell| {
        let list = kapell.cli(&["get", "workflowruns", "-l", "kapell.dev/parent", "-o", "json"]).ok().json();
        list["items"].as_array().cloned().unwrap_or_default()
    };
    eventually("a child is started", || (!children(&kapell).is_empty()).then_some(()));
    kapell.kill();
    kapell.restart();
    let output = kapell.cli(&["workflow", "wait", "only"]).ok().json();
    assert_eq!(output, json!({"n": 4}));
    assert_eq!(children(&kapell).len(), 2);
}

#[test]
fn children_share_the_fate_of_their_parents() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], SLOW).ok();
    kapell.cli(&["workflow", "run", "failing", "--wait"]).exits(1).says("no coffee").says("418");
    kapell.cli(&["workflow", "run", "stale", "--wait"]).exits(1).says("Workflow broken has version 1.0.0, not 0.9.0");
    kapell.cli(&["workflow", "run", "endless", "--wait"]).exits(1).says("more than 10 deep, here Workflow endless");

    kapell.cli(&["workflow", "run", "slow", "--name", "slow"]).ok();
    let sleeper = |kapell: &Kapell| {
        let list = kapell.cli(&["get", "workflowruns", "--field-selector", "spec.workflow=sleeper", "-o", "json"]);
        list.ok().json()["items"][0].clone()
    };
    eventually("the child runs", || sleeper(&kapell)["metadata"]["name"].is_string().then_some(()));
    kapell.kill();
    kapell.restart();
    kapell.cli(&["workflow", "cancel", "slow"]).ok();
    eventually("the child is cancelled", || (sleeper(&kapell)["status"]["phase"] == "Cancelled").then_some(()));
}

#[test]
fn processes_run_where_they_are_allowed() {
    let kapell = Kapell::start_by(Caller::default().with("KAPELL_ALLOW_RUN", "true"));
    kapell.cli_with_input(&["apply", "-f", "-"], PROCESSES).ok();
    let ran = kapell.cli(&["workflow", "run", "processes", "--wait", "--input", r#"{"name": "Ada"}"#]).ok();
    let expected = json!({
        "hello": "Hello, Ada\n", "argued": "a b|c$(d)|", "counted": 12, "code": 0, "coded": 3, "python": "42\n",
        "error": "the process ended with code 7: went wrong",
    });
    assert_eq!(ran.json(), expected);
}

#[test]
fn processes_are_refused_by_name_elsewhere() {
    let kapell = Kapell::start();
    let refused = kapell.cli_with_input(&["apply", "-f", "-"], PROCESSES).exits(1);
    refused.says("spec.do[0].hello.run: Forbidden").says("start it with --allow-run");
}
