//! Data on standard output: tables, YAML, JSON. Everything else a person reads goes to standard error.

use std::io::Write as _;

use serde_json::Value;

use crate::cli::Output;
use crate::error::{Failure, Outcome};

/// Writes to standard output; a closed pipe (`| head`) ends the program quietly, as people expect.
pub(crate) fn out(text: &str) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(Failure::from),
    }
}

/// Columns padded to their widest cell, three spaces apart, nothing after the last.
pub(crate) fn columns(header: &[String], rows: &[Vec<String>]) -> String {
    let count = header.len();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A server-side `Table` as kubectl prints it; with a namespace column when objects of several are shown.
pub(crate) struct TableView {
    pub(crate) wide: bool,
    pub(crate) namespaces: bool,
    /// Kind prefix of the names (`deployment.apps/web`), when several kinds are listed.
    pub(crate) prefix: Option<String>,
}

impl TableView {
    pub(crate) fn header(&self, table: &Value) -> Vec<String> {
        let mut header: Vec<String> = Vec::new();
        if self.namespaces {
            header.push("NAMESPACE".to_owned());
        }
        header.extend(self.shown(table).map(|(_, name)| name.to_uppercase()));
        header
    }

    pub(crate) fn rows(&self, table: &Value) -> Vec<Vec<String>> {
        let shown: Vec<usize> = self.shown(table).map(|(index, _)| index).collect();
        let rows = table["rows"].as_array().map_or(&[][..], Vec::as_slice);
        rows.iter().map(|row| self.row(row, &shown)).collect()
    }

    fn row(&self, row: &Value, shown: &[usize]) -> Vec<String> {
        let mut cells = Vec::new();
        if self.namespaces {
            cells.push(row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
        }
        for (position, index) in shown.iter().enumerate() {
            let text = match &row["cells"][index] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            match (&self.prefix, position) {
                (Some(prefix), 0) => cells.push(format!("{prefix}/{text}")),
                _ => cells.push(text),
            }
        }
        cells
    }

    fn shown<'a>(&self, table: &'a Value) -> impl Iterator<Item = (usize, &'a str)> {
        let wide = self.wide;
        let columns = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
        columns
            .iter()
            .enumerate()
            .filter(move |(_, column)| wide || column["priority"].as_i64().unwrap_or(0) == 0)
            .map(|(index, column)| (index, column["name"].as_str().unwrap_or_default()))
    }
}

pub(crate) fn value(value: &Value, output: Output) -> Outcome {
    match output {
        Output::Json => out(&format!("{value:#}\n")),
        Output::Name => {
            let kind = value["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
            out(&format!("{kind}/{}\n", value["metadata"]["name"].as_str().unwrap_or_default()))
        }
        Output::Yaml | Output::Wide => {
            let text = serde_saphyr::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
            out(&text)
        }
    }
}
