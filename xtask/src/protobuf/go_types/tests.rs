use super::*;

const SOURCE: &str = r#"
// GroupName is what URLs say.
const GroupName = "example.io"

// Words are `json:"no" protobuf:"bytes,9,opt"` in prose.
type Words []string

type Thing struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
	Source            `json:"" protobuf:"bytes,2,opt,name=source"`
	Count             *int32 `json:"count,omitempty" protobuf:"varint,3,opt,name=count"`
	APIGroup          string `json:"apiGroup" protobuf:"bytes,4,opt,name=aPIGroup"`
	Port              int32  `json:"port,omitempty" protobuf:"varint,5,opt,name=port"`
	Internal          string `json:"-"`
}
"#;

#[test]
fn names_pointers_and_inlined_structs_are_read_from_tags() {
    let types = parse(&[SOURCE.to_owned()]).unwrap();
    let field = |json: Option<&str>, pointer, omits_zero| Field { json: json.map(str::to_owned), pointer, omits_zero };
    let expected = [
        (1, field(Some("metadata"), false, true)),
        (2, field(None, false, false)),
        (3, field(Some("count"), true, true)),
        (4, field(Some("apiGroup"), false, false)),
        (5, field(Some("port"), false, true)),
    ];
    assert_eq!(types.fields, expected.map(|(number, field)| (("Thing".to_owned(), number), field)).into());
    assert_eq!(types.kinds, ["Thing".to_owned()].into());
    assert_eq!(types.lists, ["Words".to_owned()].into());
    assert_eq!(group_name(&[SOURCE.to_owned()]), Some("example.io"));
}
