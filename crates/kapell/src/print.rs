//! Data on standard output: tables, YAML, JSON. Everything else a person reads goes to standard error.

use std::io::Write as _;

use serde_json::Value;

use crate::cli::Output;
use crate::error::{Failure, Outcome};

/// Writes to standard output; a closed pipe (`| head`) ends the program quietly, as people expect.
pub(crate) fn out(text: &str) -> Outcome {
    out_bytes(text.as_bytes())
}

/// As [`out`], for what need not be text.
pub(crate) fn out_bytes(bytes: &[u8]) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(Failure::from),
    }
}

/// Columns padded to their widest cell, three spaces apart, nothing after the last.
pub(crate) fn columns(header: &[String], rows: &[Vec<String>]) -> String {
    let widths = widths(header, rows);
    std::iter::once(header).chain(rows.iter().map(Vec::as_slice)).map(|row| padded(row, &widths)).collect()
}

/// How wide each column must be for its header and its cells.
pub(crate) fn widths(header: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    (0..header.len()).map(width).collect()
}

/// One line; a cell that is wider than its column moves those after it.
pub(crate) fn padded(row: &[String], widths: &[usize]) -> String {
    let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}   ")).collect();
    cells.trim_end().to_owned() + "\n"
}

/// The words of a text in lines of at most `width` characters; a longer word is cut.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = width;
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if rest.len() < room && room < width {
            rest.insert(0, ' ');
        } else if room < width {
            lines.push(String::new());
            room = width;
        }
        while !rest.is_empty() {
            if room == 0 {
                lines.push(String::new());
                room = width;
            }
            let part: String = rest.drain(..rest.len().min(room)).collect();
            room -= part.chars().count();
            if let Some(line) = lines.last_mut() {
                line.push_str(&part);
            }
        }
    }
    lines
}

/// `9 ms`, `3.33 s`, `2 min 5 s`, `3 h 20 min`.
pub(crate) fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match milliseconds {
        ..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{seconds}.{:02} s", milliseconds % 1000 / 10),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
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
        header.extend(self.shown(table).map(|(_, column)| text(column, "name").to_uppercase()));
        header
    }

    pub(crate) fn rows(&self, table: &Value) -> Vec<Vec<String>> {
        let shown: Vec<(usize, bool)> =
            self.shown(table).map(|(index, column)| (index, text(column, "format") == "name")).collect();
        let rows = table["rows"].as_array().map_or(&[][..], Vec::as_slice);
        rows.iter().map(|row| self.row(row, &shown)).collect()
    }

    fn row(&self, row: &Value, shown: &[(usize, bool)]) -> Vec<String> {
        let mut cells = Vec::new();
        if self.namespaces {
            cells.push(row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
        }
        for (index, is_name) in shown {
            let text = match &row["cells"][index] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            match &self.prefix {
                Some(prefix) if *is_name => cells.push(format!("{prefix}/{text}")),
                _ => cells.push(text),
            }
        }
        cells
    }

    /// The columns to print, each with its place in the row.
    fn shown<'a>(&self, table: &'a Value) -> impl Iterator<Item = (usize, &'a Value)> {
        let wide = self.wide;
        let columns = table["columnDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
        columns.iter().enumerate().filter(move |(_, column)| wide || column["priority"].as_i64().unwrap_or(0) == 0)
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
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

#[cfg(test)]
mod tests;
