//! What `--check`, `--call=outline` and `--call=targets` print, in BuildKit's form.

use orlop_engine::build::request::Call;
use orlop_engine::build::{Lines, excerpt};
use serde_json::Value;

use super::request::Method;
use crate::commands::Session;
use crate::failure::{Failure, Outcome};

/// Prints an answer; the exit code says whether something was found.
pub(super) fn print(
    session: &mut Session<'_, '_>,
    method: &Method,
    answer: Option<&Value>,
) -> Outcome {
    let empty = Value::Null;
    let answer = answer.unwrap_or(&empty);
    let found = list(answer, "warnings").next().is_some() || !answer["buildError"].is_null();
    let code = i32::from(method.call == Call::Check && found && !method.ignore_status);
    if method.json {
        let text = serde_json::to_string_pretty(answer).unwrap_or_default();
        session.streams.line(text)?;
        return Ok(code);
    }
    match method.call {
        Call::Check => check(session, answer)?,
        Call::Outline => session.streams.out.write_all(outline(answer).as_bytes())?,
        Call::Targets => session.streams.out.write_all(targets(answer).as_bytes())?,
        Call::Build => {}
    }
    Ok(code)
}

fn list<'a>(answer: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    answer[key].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The findings with their lines.
fn check(session: &mut Session<'_, '_>, answer: &Value) -> Result<(), Failure> {
    let mut warnings: Vec<&Value> = list(answer, "warnings").collect();
    warnings.sort_by_key(|warning| lines(&warning["location"]).first);
    let out = &mut session.streams.out;
    match warnings.len() {
        0 => {}
        1 => writeln!(out, "Check complete, 1 warning has been found!")?,
        many => writeln!(out, "Check complete, {many} warnings have been found!")?,
    }
    for warning in &warnings {
        write!(out, "\nWARNING: {}", text(warning, "ruleName"))?;
        match text(warning, "url") {
            "" => {}
            url => write!(out, " - {url}")?,
        }
        writeln!(out, "\n{}", text(warning, "detail"))?;
        write!(out, "{}", source_lines(answer, &warning["location"]))?;
    }
    let error = &answer["buildError"];
    if error.is_null() {
        if warnings.is_empty() {
            writeln!(out, "Check complete, no warnings found.")?;
        }
        return Ok(());
    }
    if !warnings.is_empty() {
        writeln!(out)?;
    }
    out.flush()?;
    let place = source_lines(answer, &error["location"]);
    Err(Failure::new(format!("{}\n{place}", text(error, "message"))))
}

fn lines(location: &Value) -> Lines {
    let number = |end: &str| {
        let line = location["ranges"][0][end]["line"].as_u64();
        line.and_then(|line| usize::try_from(line).ok()).unwrap_or_default()
    };
    Lines { first: number("start"), last: number("end") }
}

fn source_lines(answer: &Value, location: &Value) -> String {
    let source = &answer["sources"][0];
    excerpt(text(source, "filename"), text(source, "text"), lines(location), None)
}

/// Columns with `gap` blanks between them.
fn table(rows: &[Vec<String>], gap: usize) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = cell.chars().count() + gap;
            match widths.get_mut(at) {
                Some(known) => *known = (*known).max(width),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = widths.get(at).copied().unwrap_or_default();
            if at + 1 == row.len() {
                out.push_str(cell);
            } else {
                out.push_str(&format!("{cell:<width$}"));
            }
        }
        out.push('\n');
    }
    out
}

fn targets(answer: &Value) -> String {
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for target in list(answer, "targets") {
        let default = target["default"].as_bool().unwrap_or_default();
        let name = match (text(target, "name"), default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(vec![name, text(target, "description").to_owned()]);
    }
    table(&rows, 1)
}

fn outline(answer: &Value) -> String {
    let mut out = String::new();
    let (name, description) = (text(answer, "name"), text(answer, "description"));
    if !name.is_empty() || !description.is_empty() {
        let name = if name.is_empty() { "(default)" } else { name };
        let mut rows = vec![vec!["TARGET:".to_owned(), name.to_owned()]];
        if !description.is_empty() {
            rows.push(vec!["DESCRIPTION:".to_owned(), description.to_owned()]);
        }
        out.push_str(&table(&rows, 1));
        out.push('\n');
    }
    let section = |key: &str, heads: &[&str], cells: &dyn Fn(&Value) -> Vec<String>| {
        let mut rows: Vec<Vec<String>> = vec![heads.iter().map(ToString::to_string).collect()];
        rows.extend(list(answer, key).map(cells));
        if rows.len() > 1 { table(&rows, 3) + "\n" } else { String::new() }
    };
    let required = |value: &Value| {
        let required = value["required"].as_bool().unwrap_or_default();
        vec![
            text(value, "name").to_owned(),
            if required { "true".to_owned() } else { String::new() },
        ]
    };
    out.push_str(&section("args", &["BUILD ARG", "VALUE", "DESCRIPTION"], &|arg| {
        ["name", "value", "description"].map(|key| text(arg, key).to_owned()).to_vec()
    }));
    out.push_str(&section("secrets", &["SECRET", "REQUIRED"], &required));
    out.push_str(&section("ssh", &["SSH", "REQUIRED"], &required));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stages_and_arguments_stand_in_columns() {
        let answer = json!({"targets": [
            {"name": "base", "description": "the base"},
            {"name": "", "default": true},
        ]});
        assert_eq!(targets(&answer), "TARGET    DESCRIPTION\nbase      the base\n(default) \n");
        let answer = json!({
            "name": "x",
            "args": [{"name": "V", "value": "1", "description": "a version"}],
            "secrets": [{"name": "s", "required": true}],
        });
        assert_eq!(
            outline(&answer),
            "TARGET: x\n\nBUILD ARG   VALUE   DESCRIPTION\nV           1       a version\n\nSECRET   REQUIRED\ns        true\n\n"
        );
    }
}
