use serde_json::{Value, json};

use super::validate;

/// The problems of a document with this task list, each as `path: message`.
fn problems_of(tasks: &str) -> Vec<String> {
    let document = format!("document: {{ dsl: 1.0.0, namespace: a, name: b, version: 1.0.0 }}\ndo: {tasks}");
    problems(&kapell_api::decode::from_yaml(document).unwrap().value)
}

fn problems(document: &Value) -> Vec<String> {
    validate(document).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_document_has_no_problems() {
    assert_eq!(problems_of("[{ a: { set: { x: '${ .y }' } } }]"), Vec::<String>::new());
}

#[test]
fn every_problem_has_its_path_and_says_what_is_meant() {
    let table = [
        ("[{ a: { sett: {} } }]", "spec.do[0].a.sett: Unknown field `sett`, did you mean `set`?"),
        ("[{ a: { set: {}, the: end } }]", "spec.do[0].a.the: Unknown field `the`, did you mean `then`?"),
        (
            "[{ a: {} }]",
            "spec.do[0].a: Required value: one of call, fork, for, emit, listen, raise, run, set, switch, try, wait, do",
        ),
        ("[{ a: { set: 5 } }]", "spec.do[0].a.set: Invalid value: must be an object or an expression, not a number"),
        (
            "[{ a: { do: [{ b: { set: {}, metadata: { kapell.dev/v1: { needs: [] } } } }] } }]",
            "spec.do[0].a.do[0].b.metadata[kapell.dev/v1].needs: Invalid value: `needs` is for a task of a `do` with `mode: dag`",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { mode: dag } }, do: [{ bee: { set: {} } }, { c: { set: {}, metadata: { kapell.dev/v1: { needs: [bea] } } } }] } }]",
            "spec.do[0].a.do[1].c.metadata[kapell.dev/v1].needs[0]: Not found: there is no `bea` in this task list, did you mean `bee`?",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { mode: dag } }, do: [{ z: { set: {} } }, { b: { set: {}, metadata: { kapell.dev/v1: { needs: [d, z] } } } }, { c: { set: {}, metadata: { kapell.dev/v1: { needs: [b] } } } }, { d: { set: {}, metadata: { kapell.dev/v1: { needs: [c] } } } }] } }]",
            "spec.do[0].a.do[1].b.metadata[kapell.dev/v1].needs: Invalid value: these tasks wait for each other: b needs d needs c needs b",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { mode: dag } }, do: [{ b: { set: {}, then: exit } }] } }]",
            "spec.do[0].a.do[0].b.then: Invalid value: \"exit\": must be continue or end in a `do` with `mode: dag`",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { parallel: { max: 0 } } }, for: { in: '[1]' }, do: [{ b: { set: {} } }] } }]",
            "spec.do[0].a.metadata[kapell.dev/v1].parallel.max: Invalid value: 0: must be 1 or more",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { parallel: {} } }, for: { in: '[1]' }, while: 'true', do: [{ b: { set: {} } }] } }]",
            "spec.do[0].a.while: Invalid value: `while` needs the iterations one after another, and `parallel` does not",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { saga: {} } }, set: {} } }]",
            "spec.do[0].a.metadata[kapell.dev/v1].saga: Invalid value: `saga` is for a `do` or a `try`",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { saga: { order: forward } } }, do: [{ b: { set: {} } }] } }]",
            "spec.do[0].a.metadata[kapell.dev/v1].saga.order: Invalid value: \"forward\": must be reverse",
        ),
        (
            "[{ a: { metadata: { kapell.dev/v1: { saga: { onFailure: ignore } } }, do: [{ b: { set: {} } }] } }]",
            "spec.do[0].a.metadata[kapell.dev/v1].saga.onFailure: Invalid value: \"ignore\": must be continue or stop",
        ),
        ("[]", "spec.do: Required value: at least one task"),
        ("{}", "spec.do: Invalid value: must be an array, not an object"),
        ("[5]", "spec.do[0]: Invalid value: must be an object with the task's name as its only key, not a number"),
        (
            "[{ a: { set: {} }, b: { set: {} } }]",
            "spec.do[0]: Invalid value: must have exactly one key, the task's name, but has 2",
        ),
        ("[{ a: { set: {} } }, { a: { set: {} } }]", "spec.do[1].a: Duplicate value: \"a\""),
        (
            "[{ alpha: { set: {}, then: alhpa } }]",
            "spec.do[0].alpha.then: Not found: there is no `alhpa` in this task list (a jump cannot leave its list), did you mean `alpha`?",
        ),
        ("[{ a: { emit: {} } }]", "spec.do[0].a.emit.event: Required value"),
        ("[{ a: { emit: { event: { with: { type: t } } } } }]", "spec.do[0].a.emit.event.with.source: Required value"),
        (
            "[{ a: { emit: { event: { with: { type: t, source: s, myAttribute: 1 } } } } }]",
            "spec.do[0].a.emit.event.with.myAttribute: Invalid value: \"myAttribute\": attributes of events are named with lower-case letters and digits",
        ),
        ("[{ a: { listen: {} } }]", "spec.do[0].a.listen.to: Required value"),
        ("[{ a: { listen: { to: {} } } }]", "spec.do[0].a.listen.to: Required value: exactly one of all, any, one"),
        ("[{ a: { listen: { to: { all: [] } } } }]", "spec.do[0].a.listen.to.all: Required value: at least one filter"),
        (
            "[{ a: { listen: { to: { all: [{ with: {} }], until: 'true' } } } }]",
            "spec.do[0].a.listen.to.until: Forbidden: `until` belongs to a `listen` to `any`",
        ),
        (
            "[{ a: { listen: { to: { any: [] }, read: all } } }]",
            "spec.do[0].a.listen.read: Invalid value: \"all\": must be data, envelope or raw",
        ),
        (
            "[{ a: { listen: { to: { one: { with: { type: '${ $nobody }' } } } } } }]",
            "spec.do[0].a.listen.to.one.with.type: Invalid value: \"${ $nobody }\": not a jq expression: there is no variable `$nobody` here",
        ),
        (
            "[{ a: { listen: { to: { one: { with: { type: t }, correlate: { k: {} } } } } } }]",
            "spec.do[0].a.listen.to.one.correlate.k.from: Required value",
        ),
        ("[{ a: { run: {} } }]", "spec.do[0].a.run: Required value: exactly one of workflow, shell, script"),
        (
            "[{ a: { run: { container: { image: a } } } }]",
            "spec.do[0].a.run.container: Unsupported value: `container` (this node has no container runtime) is not supported yet",
        ),
        ("[{ a: { run: { workflow: { name: b } } } }]", "spec.do[0].a.run.workflow.version: Required value"),
        (
            "[{ a: { run: { workflow: { name: b, version: 1.0.0, namespace: other } } } }]",
            "spec.do[0].a.run.workflow.namespace: Unsupported value: a workflow of another namespace (this one is in a) is not supported yet",
        ),
        (
            "[{ a: { run: { script: { language: ruby, code: x } } } }]",
            "spec.do[0].a.run.script.language: Invalid value: \"ruby\": must be js or python",
        ),
        (
            "[{ a: { run: { script: { language: js, code: x, source: { endpoint: 'http://x/' } } } } }]",
            "spec.do[0].a.run.script.source: Unsupported value: `source` is not supported yet",
        ),
        (
            "[{ a: { run: { shell: { command: ls }, return: exit } } }]",
            "spec.do[0].a.run.return: Invalid value: \"exit\": must be one of stdout, stderr, code, all, none",
        ),
        ("[{ a: { call: mcp, with: {} } }]", "spec.do[0].a.call: Unsupported value: call: mcp is not supported yet"),
        (
            "[{ a: { call: htp } }]",
            "spec.do[0].a.call: Not found: there is no `htp` in use.functions, did you mean `http`?",
        ),
        (
            "[{ a: { call: 'log:1.0.0@nowhere' } }]",
            "spec.do[0].a.call: Not found: there is no `nowhere` in use.catalogs",
        ),
        (
            "[{ a: { call: 'log:1.0.0@default' } }]",
            "spec.do[0].a.call: Unsupported value: a default catalog (define `default` in use.catalogs) is not supported yet",
        ),
        (
            "[{ a: { call: openapi, with: { document: { endpoint: '${ .x }' }, operationId: x } } }]",
            "spec.do[0].a.with.document.endpoint: Invalid value: \"${ .x }\": must be known before the run begins, so it can be neither an expression nor a template",
        ),
        (
            "[{ a: { call: grpc, with: { proto: { endpoint: 'http://x/a.proto' }, service: { name: A, host: x, port: 70000 }, method: M } } }]",
            "spec.do[0].a.with.service.port: Invalid value: 70000: must be a port from 1 to 65535",
        ),
        ("[{ a: { call: http } }]", "spec.do[0].a.with: Required value"),
        ("[{ a: { call: http, with: { method: get } } }]", "spec.do[0].a.with.endpoint: Required value"),
        (
            "[{ a: { call: http, with: { method: get, endpoint: 'ftp://x/' } } }]",
            "spec.do[0].a.with.endpoint: Invalid value: \"ftp://x/\": must be http or https, not ftp",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: 'http://x/{a' } } }]",
            "spec.do[0].a.with.endpoint: Invalid value: \"http://x/{a\": has an unclosed `{`",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: { uri: 'http://x/', authentication: { use: b } } } } }]",
            "spec.do[0].a.with.endpoint.authentication.use: Not found: there is no `b` in use.authentications",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: { uri: 'http://x/', authentication: { basic: { use: s } } } } } }]",
            "spec.do[0].a.with.endpoint.authentication.basic.use: Not found: there is no `s` in use.secrets",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: { uri: 'http://x/', authentication: {} } } } }]",
            "spec.do[0].a.with.endpoint.authentication: Required value: exactly one of basic, bearer, digest, oauth2 and oidc, or `use`",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: { uri: 'http://x/', authentication: { oauth2: { authority: 'http://a', client: { id: x }, grant: password, username: u } } } } } }]",
            "spec.do[0].a.with.endpoint.authentication.oauth2.password: Required value: the grant asks for it",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: { uri: 'http://x/', authentication: { oidc: { authority: 'http://a', client: { id: x, authentication: x } } } } } } }]",
            "spec.do[0].a.with.endpoint.authentication.oidc.client.authentication: Invalid value: \"x\": must be one of client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, none",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: { uri: 'http://x/', authentication: { basic: { username: u } } } } } }]",
            "spec.do[0].a.with.endpoint.authentication.basic.password: Required value",
        ),
        (
            "[{ a: { call: http, with: { method: get, endpoint: 'http://x/', header: {} } } }]",
            "spec.do[0].a.with.header: Unknown field `header`, did you mean `headers`?",
        ),
        (
            "[{ a: { set: { deep: ['${ .x | }'] } } }]",
            "spec.do[0].a.set.deep[0]: Invalid value: \"${ .x | }\": not a jq expression: expected term, found the end",
        ),
        (
            "[{ a: { set: { x: '${ nope(1) }' } } }]",
            "spec.do[0].a.set.x: Invalid value: \"${ nope(1) }\": not a jq expression: there is no filter `nope` here",
        ),
        (
            "[{ a: { set: { x: '${ $item }' } } }]",
            "spec.do[0].a.set.x: Invalid value: \"${ $item }\": not a jq expression: there is no variable `$item` here",
        ),
        (
            "[{ a: { set: { x: '${ $secrets.a }' } } }]",
            "spec.do[0].a.set.x: Not found: `$secrets` has no members, as `use.secrets` names none",
        ),
        (
            "[{ a: { set: {}, output: { as: $output } } }]",
            "spec.do[0].a.output.as: Invalid value: \"$output\": not a jq expression: there is no variable `$output` here",
        ),
        ("[{ a: { set: {}, input: { schema: {} } } }]", "spec.do[0].a.input.schema.document: Required value"),
        (
            "[{ a: { set: {}, output: { schema: { format: avro, document: {} } } } }]",
            "spec.do[0].a.output.schema.format: Unsupported value: the schema format `avro` is not supported yet",
        ),
        (
            "[{ a: { set: {}, export: { schema: { resource: { endpoint: x } } } } }]",
            "spec.do[0].a.export.schema.resource.endpoint: Invalid value: \"x\": must be an absolute URI: relative URL without a base",
        ),
        (
            "[{ a: { set: {}, input: { schema: { document: { $ref: '#' } } } } }]",
            "spec.do[0].a.input.schema.document: Invalid value: has a `$ref` at `#` that leads back to itself",
        ),
        (
            "[{ a: { set: {}, then: end } }, { b: { set: {} } }]",
            "spec.do[1].b: Invalid value: nothing leads to this task, neither the order of the list nor a `then`",
        ),
        (
            "[{ a: { raise: { error: { type: x, status: 500 } } } }, { b: { set: {} } }]",
            "spec.do[1].b: Invalid value: nothing leads to this task, neither the order of the list nor a `then`",
        ),
        (
            "[{ a: { switch: [{ x: { then: c } }] } }, { b: { set: {} } }, { c: { set: {} } }]",
            "spec.do[1].b: Invalid value: nothing leads to this task, neither the order of the list nor a `then`",
        ),
        (
            "[{ a: { try: [{ b: { set: {} } }], catch: { then: nope } } }]",
            "spec.do[0].a.catch.then: Not found: there is no `nope` in this task list (a jump cannot leave its list)",
        ),
        (
            "[{ a: { wait: soon } }]",
            "spec.do[0].a.wait: Invalid value: \"soon\": must be an ISO 8601 duration such as PT30S or P1DT2H",
        ),
        (
            "[{ a: { wait: { second: 1 } } }]",
            "spec.do[0].a.wait.second: Unknown field `second`, did you mean `seconds`?",
        ),
        ("[{ a: { set: {}, timeout: shrt } }]", "spec.do[0].a.timeout: Not found: there is no `shrt` in use.timeouts"),
        (
            "[{ a: { raise: { error: nope } } }]",
            "spec.do[0].a.raise.error: Not found: there is no `nope` in use.errors",
        ),
        ("[{ a: { raise: { error: { type: x } } } }]", "spec.do[0].a.raise.error.status: Required value"),
        ("[{ a: { try: [{ b: { set: {} } }] } }]", "spec.do[0].a.catch: Required value"),
        (
            "[{ a: { try: [{ b: { set: {} } }], catch: { retry: nope } } }]",
            "spec.do[0].a.catch.retry: Not found: there is no `nope` in use.retries",
        ),
        (
            "[{ a: { try: [{ b: { set: {} } }], catch: { retry: { delay: PT1S, backoff: { exponential: { factor: 0 } } } } } }]",
            "spec.do[0].a.catch.retry.backoff.exponential.factor: Invalid value: 0: must be a number from 1 to 100",
        ),
        (
            "[{ a: { try: [{ b: { set: {} } }], catch: { retry: { delay: PT1S, backoff: { linear: { factor: 2 } } } } } }]",
            "spec.do[0].a.catch.retry.backoff.linear.factor: Unsupported value: `factor` is not supported yet",
        ),
        (
            "[{ a: { for: { in: .x, each: context }, do: [{ b: { set: {} } }] } }]",
            "spec.do[0].a.for.each: Invalid value: \"context\": is the name of an argument of the DSL",
        ),
        ("[{ a: { for: { in: .x } } }]", "spec.do[0].a.do: Required value"),
        (
            "[{ a: { fork: { branches: [{ b: { set: {}, then: c } }, { c: { set: {} } }] } } }]",
            "spec.do[0].a.fork.branches[0].b.then: Not found: there is no `c` in this task list (a jump cannot leave its list)",
        ),
        ("[{ a: { switch: [{ b: { when: .x } }] } }]", "spec.do[0].a.switch[0].b.then: Required value"),
        (
            "[{ a: { set: {}, metadata: { kapell.dev/v1: { compensat: [] } } } }]",
            "spec.do[0].a.metadata[kapell.dev/v1].compensat: Unknown field `compensat`, did you mean `compensate`?",
        ),
        (
            "[{ a: { set: {}, metadata: { kapell.dev/v1: { compensate: [{ b: { sett: {} } }] } } } }]",
            "spec.do[0].a.metadata[kapell.dev/v1].compensate[0].b.sett: Unknown field `sett`, did you mean `set`?",
        ),
        (
            "[{ a: { do: [{ b: { set: {}, then: a } }] } }]",
            "spec.do[0].a.do[0].b.then: Not found: there is no `a` in this task list (a jump cannot leave its list)",
        ),
    ];
    for (tasks, expected) in table {
        let problems = problems_of(tasks);
        assert_eq!(problems, [expected], "{tasks}");
    }
}

#[test]
fn the_header_is_checked() {
    let header = |document: Value| problems(&json!({ "document": document, "do": [{ "a": { "set": {} } }] }));
    let good =
        json!({ "dsl": "1.0.3", "namespace": "shop", "name": "order", "version": "1.2.3-rc.1", "tags": { "a": "b" } });
    assert_eq!(header(good.clone()), Vec::<String>::new());
    let table = [
        ("dsl", json!("0.8"), "spec.document.dsl: Invalid value: \"0.8\": must be a version 1.0.x of the DSL"),
        (
            "name",
            json!("Order!"),
            "spec.document.name: Invalid value: \"Order!\": must be a DNS label of at most 63 characters",
        ),
        (
            "version",
            json!("1.0"),
            "spec.document.version: Invalid value: \"1.0\": must be a semantic version such as 1.0.0",
        ),
        ("version", json!(1.0), "spec.document.version: Invalid value: must be a string, not a number"),
        ("titel", json!("x"), "spec.document.titel: Unknown field `titel`, did you mean `title`?"),
        (
            "metadata",
            json!({ "of": "another", "kapell.dev/v1": { "exampleInput": {}, "exampel": {} } }),
            "spec.document.metadata[kapell.dev/v1].exampel: Unknown field `exampel`, known are exampleInput, schedule, retention, searchAttributes, concurrency, priority",
        ),
    ];
    for (key, value, expected) in table {
        let mut document = good.clone();
        document[key] = value;
        assert_eq!(header(document), [expected]);
    }
}

#[test]
fn schedules_are_checked() {
    let cases = [
        (json!({ "schedule": {} }), "spec.schedule: Required value: one of every, cron, after, on"),
        (
            json!({ "schedule": { "every": "PT1H", "corn": "0 0 * * *" } }),
            "spec.schedule.corn: Unknown field `corn`, did you mean `cron`?",
        ),
        (
            json!({ "schedule": { "every": "PT0.5S" } }),
            "spec.schedule.every: Invalid value: \"500 ms\": must be whole seconds, at least one",
        ),
        (
            json!({ "schedule": { "cron": "0 0 30 2 *" } }),
            "spec.schedule.cron: Invalid value: \"0 0 30 2 *\": is never due",
        ),
        (
            json!({ "schedule": { "on": { "one": { "with": { "type": "${ $context.t }" } } } } }),
            "spec.schedule.on.one.with.type: Invalid value: \"${ $context.t }\": not a jq expression: there is no variable `$context` here",
        ),
        (
            json!({ "schedule": { "on": { "any": [], "until": "true" } } }),
            "spec.schedule.on.until: Forbidden: `until` belongs to a `listen` to `any`",
        ),
        (
            json!({ "ours": { "timeZone": "Berlin" } }),
            "spec.document.metadata[kapell.dev/v1].schedule.timeZone: Invalid value: \"Berlin\": must be a time zone such as Europe/Berlin",
        ),
        (
            json!({ "ours": { "overlap": "forbid" } }),
            "spec.document.metadata[kapell.dev/v1].schedule.overlap: Invalid value: \"forbid\": must be one of allow, skip, queue, replace",
        ),
        (
            json!({ "ours": { "timezone": "UTC" } }),
            "spec.document.metadata[kapell.dev/v1].schedule.timezone: Unknown field `timezone`, did you mean `timeZone`?",
        ),
    ];
    for (given, expected) in cases {
        let metadata = json!({ "kapell.dev/v1": { "schedule": given.get("ours").cloned().unwrap_or(json!({})) } });
        let document = json!({
            "document": { "dsl": "1.0.0", "namespace": "a", "name": "b", "version": "1.0.0", "metadata": metadata },
            "schedule": given.get("schedule").cloned().unwrap_or(json!({ "every": "PT1H" })),
            "do": [{ "a": { "set": {} } }],
        });
        assert_eq!(problems(&document), [expected]);
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let base = json!({ "document": { "dsl": "1.0.0", "namespace": "a", "name": "b", "version": "1.0.0" }, "do": [{ "a": { "set": {} } }] });
    let with = |key: &str, value: Value| {
        let mut document = base.clone();
        document[key] = value;
        problems(&document)
    };
    assert_eq!(
        with("evaluate", json!({ "language": "javascript" })),
        ["spec.evaluate.language: Unsupported value: the expression language `javascript` is not supported yet"]
    );
}

#[test]
fn tasks_that_something_leads_to_are_reachable() {
    let lists = [
        "[{ a: { set: {}, then: c } }, { b: { set: {}, then: end } }, { c: { set: {}, then: b } }]",
        "[{ a: { set: {}, if: .x, then: end } }, { b: { set: {} } }]",
        "[{ a: { switch: [{ x: { when: .x, then: c } }], then: end } }, { c: { set: {} } }]",
        "[{ a: { try: [{ x: { set: {} } }], catch: { then: c }, then: end } }, { c: { set: {} } }]",
    ];
    for list in lists {
        assert_eq!(problems_of(list), Vec::<String>::new(), "{list}");
    }
}

/// Whatever others can see must not hold a secret: said where the document is, not when the task begins.
#[test]
fn secrets_go_to_processes_in_their_environment_only() {
    let problems_with = |run: &str| {
        let document = format!(
            "document: {{ dsl: 1.0.0, namespace: a, name: b, version: 1.0.0 }}\nuse: {{ secrets: [s] }}\ndo: [{{ t: {{ run: {run} }} }}]"
        );
        problems(&kapell_api::decode::from_yaml(document).unwrap().value)
    };
    let refusal = "Forbidden: a secret can be handed over only in `environment` or `stdin` of a command";
    for (run, expected) in [
        ("{ shell: { command: x, environment: { A: '${ $secrets.s.k }' }, stdin: '${ $secrets.s.k }' } }", None),
        ("{ shell: { command: '${ $secrets.s.k }' } }", Some("shell.command")),
        ("{ shell: { command: x, arguments: ['${ $secrets.s.k }'] } }", Some("shell.arguments")),
        ("{ script: { language: python, code: x, arguments: { a: '${ $secrets.s.k }' } } }", Some("script.arguments")),
        ("{ script: { language: python, code: '${ $secrets.s.k }' } }", Some("script.code")),
        ("{ workflow: { name: x, version: 1.0.0, input: { a: '${ $secrets.s.k }' } } }", Some("workflow.input")),
    ] {
        let expected: Vec<String> =
            expected.iter().map(|place| format!("spec.do[0].t.run.{place}: {refusal}")).collect();
        assert_eq!(problems_with(run), expected, "{run}");
    }
}
