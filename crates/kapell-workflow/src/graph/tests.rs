use serde_json::json;

use super::mermaid;

#[test]
fn a_workflow_is_drawn_with_jumps_catches_and_compensations() {
    let document = json!({
        "document": { "dsl": "1.0.3", "namespace": "a", "name": "b", "version": "1.0.0" },
        "do": [
            { "take": {
                "call": "http", "with": { "method": "post", "endpoint": "http://stock/take" },
                "metadata": { "kapell.dev/v1": { "compensate": [{ "back": { "set": {} } }] } },
            } },
            { "decide": { "switch": [{ "big": { "when": ".n > 1", "then": "pay" } }, { "small": { "then": "end" } }] } },
            { "pay": { "try": [{ "charge": { "set": {} } }], "catch": { "do": [{ "\"note\"": { "set": {} } }] } } },
        ],
    });
    let drawn = mermaid(&document).unwrap();
    let wanted = [
        "flowchart TD",
        "t1[\"take: POST http://stock/take\"]",
        "subgraph p1 [\"undo take\"]",
        "t0[\"back: set\"]",
        "t1 -. undo .-> p1",
        "t2{\"decide\"}",
        "subgraph t5 [\"pay: try\"]",
        "subgraph p2 [\"pay: catch\"]",
        "[\"&quot;note&quot;: set\"]",
        "t5 -. catch .-> p2",
        "t1 --> t2",
        "t2 -->|\"big\"| t5",
        "t2 -->|\"small\"| finish",
        "t5 --> finish",
        "start --> t1",
    ];
    for line in wanted {
        assert!(drawn.contains(line), "{line} is not in\n{drawn}");
    }
    assert_eq!(drawn.matches("subgraph").count(), drawn.lines().filter(|line| line.trim() == "end").count());
}

#[test]
fn what_is_wrong_is_not_drawn() {
    assert!(mermaid(&json!({})).is_err());
}
