use std::sync::Arc;

use super::meter::{Exhausted, on_deep_stack};
use super::{Arguments, CompileError, Datum, EvaluationError, Expression, compile_with, natives};

struct Named(Vec<(&'static str, Datum)>);

impl Arguments for Named {
    fn argument(&self, name: &str) -> Datum {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

fn compile(text: &str) -> Result<Expression, CompileError> {
    let scope: Vec<Arc<str>> = vec!["context".into(), "input".into()];
    on_deep_stack(|| Expression::compile(text, &scope))
}

fn evaluate(text: &str, input: &str) -> Result<String, EvaluationError> {
    let context = serde_json::from_str(r#"{"user":"ada"}"#).unwrap();
    let expression = compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    on_deep_stack(|| {
        let input: Datum = serde_json::from_str(input).unwrap();
        expression.evaluate(&input, &Named(vec![("context", context)])).map(|d| serde_json::to_string(&d).unwrap())
    })
}

#[test]
fn jq_expressions_have_their_usual_results() {
    let table = [
        (".a.b", r#"{"a":{"b":1}}"#, "1"),
        (".a.b", r#"{}"#, "null"),
        (".[1]", "[1,2]", "2"),
        (".[-1]", "[1,2]", "2"),
        (".[1:]", "[1,2,3]", "[2,3]"),
        (".[:2]", r#""äöü""#, r#""äö""#),
        ("6 / 2", "null", "3"),
        ("7 / 2", "null", "3.5"),
        ("1e3", "null", "1000"),
        ("-5 % 3", "null", "-2"),
        ("$context.user", "null", r#""ada""#),
        ("$input", "null", "null"),
        ("[.[] | select(. > 1)]", "[1,2,3]", "[2,3]"),
        ("map(. * 2) | add", "[1,2,3]", "12"),
        ("{a: 1} + {b: 2}", "null", r#"{"a":1,"b":2}"#),
        ("{a: {x: 1}} * {a: {y: 2}}", "null", r#"{"a":{"x":1,"y":2}}"#),
        (r#""Hello \(.name)!""#, r#"{"name":"Bob"}"#, r#""Hello Bob!""#),
        (".items[0].sku // \"none\"", r#"{"items":[]}"#, r#""none""#),
        ("keys", r#"{"b":1,"a":2}"#, r#"["a","b"]"#),
        ("to_entries", r#"{"a":1}"#, r#"[{"key":"a","value":1}]"#),
        ("with_entries(.value += 1)", r#"{"a":1}"#, r#"{"a":2}"#),
        (".a.b |= 3", "{}", r#"{"a":{"b":3}}"#),
        ("del(.a)", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        ("del(.[0])", "[1,2]", "[2]"),
        (".[1:] = [9]", "[1,2,3]", "[1,9]"),
        ("sort_by(.n) | map(.n)", r#"[{"n":2},{"n":1}]"#, "[1,2]"),
        ("group_by(.k) | map(length)", r#"[{"k":1},{"k":2},{"k":1}]"#, "[2,1]"),
        ("unique", "[2,1,2]", "[1,2]"),
        ("min, max", "[2,1]", "1"),
        ("[min, max]", "[2,1]", "[1,2]"),
        ("length", r#""äöü""#, "3"),
        ("split(\",\")", r#""a,b""#, r#"["a","b"]"#),
        ("join(\"-\")", r#"["a","b"]"#, r#""a-b""#),
        ("test(\"^a.c$\")", r#""abc""#, "true"),
        ("sub(\"b\"; \"x\")", r#""abc""#, r#""axc""#),
        ("ascii_upcase", r#""abc""#, r#""ABC""#),
        ("contains(\"b\")", r#""abc""#, "true"),
        ("contains({a: [1]})", r#"{"a":[1,2]}"#, "true"),
        ("inside([1,2])", "[1]", "true"),
        ("has(\"a\")", r#"{"a":null}"#, "true"),
        ("index(\"b\")", r#""abb""#, "1"),
        ("rindex(\"b\")", r#""abb""#, "2"),
        ("indices(1)", "[1,2,1]", "[0,2]"),
        ("tonumber", r#""42""#, "42"),
        ("tostring", "[1]", r#""[1]""#),
        ("tojson | fromjson", r#"{"a":[1.5,null]}"#, r#"{"a":[1.5,null]}"#),
        ("transpose", "[[1,2],[3]]", "[[1,3],[2,null]]"),
        ("@base64", r#""hi""#, r#""aGk=""#),
        ("@uri", r#""a b""#, r#""a%20b""#),
        ("reduce .[] as $x (0; . + $x)", "[1,2,3]", "6"),
        ("[limit(3; repeat(1))]", "null", "[1,1,1]"),
        ("[range(3)]", "null", "[0,1,2]"),
        ("try error(\"x\") catch .", "null", r#""x""#),
        ("if . > 1 then \"big\" else \"small\" end", "2", r#""big""#),
        ("[..] | length", r#"[[1],{"a":2}]"#, "5"),
        ("empty", "null", "null"),
        ("nan | isnan", "null", "true"),
        ("1 / 0", "null", "null"),
        ("type", "{}", r#""object""#),
        ("fromdate", r#""2015-03-05T23:51:47Z""#, "1425599507"),
        ("9223372036854775807 + 1", "null", "9223372036854775808.0"),
        ("walk(if type == \"number\" then . + 1 else . end)", r#"[1,{"a":2}]"#, r#"[2,{"a":3}]"#),
        ("paths", r#"{"a":1}"#, r#"["a"]"#),
        ("any", "[false,true]", "true"),
        ("first(.[] | select(. > 1))", "[1,2,3]", "2"),
        ("ltrimstr(\"a\")", r#""abc""#, r#""bc""#),
    ];
    for (text, input, expected) in table {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        let actual = evaluate(text, input).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&actual).unwrap(), expected, "{text}");
    }
}

#[test]
fn failures_are_told_in_words() {
    let table = [
        (".a", "[1]", "cannot index array with \"a\""),
        (".[0]", "{}", "cannot index object with number"),
        ("1 + {}", "null", "cannot calculate number + object"),
        (".[]", "1", "cannot iterate over number"),
        ("error(\"out of stock\")", "null", "out of stock"),
        ("error({code: 1})", "null", "{\"code\":1}"),
        ("{(1|tostring|tonumber): 2}", "null", "cannot use number as object key"),
        ("5 % 0", "null", "cannot divide by zero"),
        ("\"x\" | tonumber", "null", "cannot parse as number"),
    ];
    for (text, input, expected) in table {
        assert_eq!(evaluate(text, input), Err(EvaluationError::Failed(expected.to_owned())), "{text}");
    }
}

#[test]
fn what_reaches_outside_does_not_exist() {
    for text in [
        "env",
        "$ENV",
        "now",
        "halt",
        "halt_error",
        "input",
        "inputs",
        "debug",
        "stderr",
        "localtime",
        "$secrets",
        "$foo",
    ] {
        assert!(matches!(compile(text), Err(CompileError::Undefined { .. })), "{text} compiled");
    }
    for text in ["import \"a\" as a; 1", "include \"a\"; 1"] {
        assert!(compile(text).is_err(), "{text} compiled");
    }
}

#[test]
fn broken_expressions_do_not_compile() {
    for text in ["", "   ", ".a |", "(", "[1,", "if . then 1", "\"\\(", ".a b", "{", "1 +"] {
        assert!(compile(text).is_err(), "{text:?} compiled");
    }
}

#[test]
fn hostile_expressions_are_stopped() {
    let table = [
        "def f: f; f",
        "def f: [f]; f",
        "def f: f | f; f",
        "def f: 1 + f; f",
        "[range(1000000000000)]",
        "last(range(1000000000000))",
        "reduce range(1000000000000) as $i (0; . + 1)",
        "until(false; . + .)",
        "until(false; .)",
        "[repeat(1)]",
        "\"x\" * 1000000000",
        "reduce range(100) as $i (\"xxxx\"; . + .)",
        "reduce range(100) as $i ([1]; . + .)",
        "reduce range(60) as $i ([1]; [., .])",
        "reduce range(60) as $i ({a: 1}; {a: ., b: .}) | tojson",
        "reduce range(100000) as $i (0; [.])",
        "[[range(30)] | map([0,1]) | combinations]",
        "[range(100) | \"x\" * 10000000]",
        "[limit(1000000000; repeat(\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"))]",
        "skip(1000000000000; repeat(1))",
        "(\"a\" * 16000000) | test(\"(a*)*b\")",
        "\"a\" | test(\"(((a{1000}){1000}){1000})\")",
        "[range(100000)] | . as $a | map(. as $x | $a | contains([$x])) | length",
        "[range(3000)] | [.[] as $x | .[] as $y | .[] as $z | 1] | length",
        "first(repeat(empty))",
        "isempty(repeat(empty))",
        "label $f | def g: g; g, break $f",
        "[recurse(. + 1)]",
        "[path(repeat(.))]",
        "reduce range(1000) as $i (10; . * . + 1) | until(false; . + 1)",
    ];
    for text in table {
        // That it ends at all is the point; when, no busy machine shall decide.
        match evaluate(text, "1") {
            Err(EvaluationError::Exhausted(_)) => {}
            // A filter may find its own reason to refuse.
            Err(EvaluationError::Failed(message)) => {
                assert!(message.contains("regular expression"), "{text}: {message}")
            }
            Ok(output) => panic!("{text} gave {}", &output[..output.len().min(100)]),
        }
    }
}

#[test]
fn parsing_survives_deep_nesting() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{a:", "}"), ("-", ""), (". as $x|", ""), ("if . then ", " end"), ("try ", "")]
    {
        for length in [4000, 100_000] {
            let n = length / (open.len() + close.len());
            let text = format!("{}1{}", open.repeat(n), close.repeat(n));
            let _ = compile(&text);
        }
    }
}

#[test]
fn a_thread_with_an_ordinary_stack_is_not_overrun() {
    let expression = compile("def f: [f]; f").unwrap();
    let result = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || expression.evaluate(&Datum::Null, &Named(Vec::new())))
        .unwrap()
        .join()
        .unwrap();
    assert!(matches!(result, Err(EvaluationError::Exhausted(Exhausted::Stack | Exhausted::Depth))));
}

#[test]
fn an_expression_is_compiled_with_what_it_uses() {
    on_deep_stack(|| {
        let names = |text: &str| natives::definitions_for(text).len();
        assert_eq!(names(".n + 1"), 0);
        assert!((1..20).contains(&names("map(.a) | add")), "{}", names("map(.a) | add"));
        for definition in natives::definitions() {
            let arguments = vec!["."; definition.args.len()].join("; ");
            let text = format!("{}({arguments})", definition.name).replace("()", "");
            let few = compile_with(natives::definitions_for(&text), &text, &[]);
            let all = compile_with(natives::definitions(), &text, &[]);
            assert_eq!(few.is_ok(), all.is_ok(), "{text}");
        }
    });
}
