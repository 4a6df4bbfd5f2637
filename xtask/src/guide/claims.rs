//! What the documentation of a test function claims.

/// One line of a test's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) what: What,
    pub(super) text: String,
    /// From the root of the repository.
    pub(super) file: String,
    pub(super) function: String,
    /// Why the test does not run, where it is ignored.
    pub(super) ignored: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The title of a conformance case.
    Conformance,
    /// `client | what it can do`
    Row,
    /// `client | what is refused to it`
    Refused,
    /// `client | version or mode`: every row of this client is proven by this test.
    Column,
}

const MARKS: [(&str, What); 4] = [
    ("/// Conformance: ", What::Conformance),
    ("/// Row: ", What::Row),
    ("/// Refused: ", What::Refused),
    ("/// Column: ", What::Column),
];

pub(super) fn read(file: &str, source: &str) -> Vec<Claim> {
    let (mut claims, mut waiting, mut ignored) = (Vec::new(), Vec::new(), None);
    for line in source.lines().map(str::trim) {
        let claim = MARKS.iter().find_map(|(mark, what)| Some((*what, line.strip_prefix(mark)?)));
        if let Some((what, text)) = claim {
            waiting.push((what, text.to_owned()));
        } else if let Some(rest) = line.strip_prefix("#[ignore") {
            ignored = Some(rest.trim_matches([' ', '=', '"', ']']).to_owned());
        } else if let Some(function) = function(line) {
            let reason = ignored.take();
            claims.extend(waiting.drain(..).map(|(what, text)| Claim {
                what,
                text,
                file: file.to_owned(),
                function: function.to_owned(),
                ignored: reason.clone(),
            }));
        }
    }
    claims
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

impl Claim {
    /// The test as a link from a page of the guide.
    pub(super) fn link(&self) -> String {
        format!("[`{}`](../../{})", self.function, self.file)
    }
}
