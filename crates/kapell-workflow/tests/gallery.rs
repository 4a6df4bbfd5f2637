//! The gallery in `examples/workflows` does what its cases say, as `kapell workflow test` would find.

use std::path::{Path, PathBuf};

use kapell_workflow::cases;

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn examples_come_out_as_written() {
    let gallery = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/workflows");
    let mut covered = Vec::new();
    for file in files(&gallery.join("tests")) {
        for case in cases::read(&std::fs::read_to_string(&file).unwrap()).unwrap() {
            let workflow = gallery.join("tests").join(case.workflow_file().unwrap()).canonicalize().unwrap();
            let document = kapell_api::decode::from_yaml(std::fs::read(&workflow).unwrap()).unwrap().value;
            assert!(kapell_workflow::doubts(&document).is_empty(), "{}", workflow.display());
            let name = case.name.clone();
            let differences = case.with_workflow(document).run().unwrap_or_else(|error| panic!("{error}"));
            assert!(differences.is_empty(), "{name}: {differences:#?}");
            covered.push(workflow);
        }
    }
    for workflow in files(&gallery) {
        let workflow = workflow.canonicalize().unwrap();
        assert!(covered.contains(&workflow), "{} has no cases", workflow.display());
    }
}
