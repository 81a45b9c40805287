//! `builder du` and `builder prune`, as docker's buildx prints them.

use std::fmt::Write as _;

use jiff::Timestamp;
use orlop_engine::{CachePruneOptions, CacheUsage};
use orlop_template::Template;
use orlop_types::duration::{human_ago, nanoseconds_between};
use orlop_types::size::{human_size, parse_ram_bytes};
use serde_json::{Value, json};

use super::{Session, filters};
use crate::args::{BuilderGroup, BuilderPrune, BuilderUsage};
use crate::failure::{Failure, Outcome};

/// Width of a tab stop.
const TAB: usize = 8;

/// Carries a command of the group out.
pub fn dispatch(session: &mut Session<'_, '_>, command: BuilderGroup) -> Outcome {
    match command {
        BuilderGroup::Build(args) => super::build::build(session, &args),
        BuilderGroup::Du(args) => usage(session, &args),
        BuilderGroup::Prune(args) => prune(session, &args),
        BuilderGroup::Budget(args) => budget(session, args.size.as_deref()),
        BuilderGroup::Ls(args) => super::buildx::list(session, &args),
        BuilderGroup::Inspect(args) => super::buildx::inspect(session, args.name.as_deref()),
        BuilderGroup::Use(args) => super::buildx::choose(&args.name),
        BuilderGroup::Version => super::buildx::version(session),
        BuilderGroup::Create(_) => super::buildx::create(),
    }
}

fn usage(session: &mut Session<'_, '_>, args: &BuilderUsage) -> Outcome {
    let chosen = filters(&args.filters)?;
    let records = session.engine.build_cache(&chosen)?;
    let now = Timestamp::now();
    let mut text = match (args.format.as_deref(), args.verbose) {
        (Some("json"), _) => lines(&records, now, |document| Ok(format!("{document}\n")))?,
        (Some(format), _) => {
            let template = Template::parse(format)?;
            lines(&records, now, |document| Ok(format!("{}\n", template.render(&document)?)))?
        }
        (None, true) => details(&records, now),
        (None, false) => table(&records, now),
    };
    if args.format.is_none() && args.filters.is_empty() {
        text.push_str(&summary(&records));
    }
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

fn prune(session: &mut Session<'_, '_>, args: &BuilderPrune) -> Outcome {
    let options = CachePruneOptions {
        all: args.all,
        filters: filters(&args.filters)?,
        reserved_bytes: bytes("reserved-space", &args.reserved_space)?,
        max_used_bytes: bytes("max-used-space", &args.max_used_space)?,
        min_free_bytes: bytes("min-free-space", &args.min_free_space)?,
    };
    if !args.force && !session.streams.ask(warning(args.all))? {
        return Ok(0);
    }
    let pruned = session.engine.build_cache_prune(&options)?;
    let now = Timestamp::now();
    let mut text = match (args.verbose, pruned.deleted.is_empty()) {
        (true, _) => details(&pruned.deleted, now),
        (false, true) => String::new(),
        (false, false) => table(&pruned.deleted, now),
    };
    let total = human_size(pruned.space_reclaimed as f64);
    text.push_str(&columns(&[vec!["Total:".to_owned(), total]]));
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// Sets the budget that builds have unless they are given another one, and shows it.
fn budget(session: &mut Session<'_, '_>, size: Option<&str>) -> Outcome {
    if let Some(text) = size {
        let value = match text.strip_suffix('%') {
            Some(_) => text.to_owned(),
            None => parse_ram_bytes(text)
                .map_err(|error| Failure::new(error.to_string()))?
                .max(0)
                .to_string(),
        };
        session.engine.set_build_cache_budget(&value)?;
    }
    let (budget, used) = session.engine.build_cache_budget()?;
    let row = |name: &str, bytes: u64| vec![format!("{name}:"), human_size(bytes as f64)];
    let text = columns(&[row("Budget", budget), row("Used", used)]);
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// docker's words.
fn warning(all: bool) -> &'static str {
    if all {
        "WARNING! This will remove all build cache. Are you sure you want to continue?"
    } else {
        "WARNING! This will remove all dangling build cache. Are you sure you want to continue?"
    }
}

fn bytes(flag: &str, text: &str) -> Result<u64, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    let refused = |error: &dyn std::fmt::Display| {
        Failure::new(format!("invalid argument \"{text}\" for \"--{flag}\" flag: {error}"))
            .with_code(crate::request::BAD_FLAG)
    };
    let number = parse_ram_bytes(text).map_err(|error| refused(&error))?;
    u64::try_from(number).map_err(|_| refused(&"it is negative"))
}

/// One row for each record.
fn table(records: &[CacheUsage], now: Timestamp) -> String {
    let mut rows = vec![["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"].map(str::to_owned).to_vec()];
    for record in records {
        let mark = |text: String, marked: bool| if marked { format!("{text}*") } else { text };
        rows.push(vec![
            format!("{:<40}", mark(record.id.clone(), record.is_mutable())),
            format!("{:<5}", !record.in_use),
            format!("{:<10}", mark(human_size(record.size_bytes as f64), record.shared)),
            human_ago(record.last_used_at, now),
        ]);
    }
    columns(&rows)
}

/// Everything, a line for each fact, an empty line after each record.
fn details(records: &[CacheUsage], now: Timestamp) -> String {
    let mut text = String::new();
    for record in records {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push(vec![format!("{name}:"), value]);
        row("ID", record.id.clone());
        if !record.parents.is_empty() {
            row("Parent", record.parents.join(","));
        }
        row("Created at", time(record.created_at));
        row("Mutable", record.is_mutable().to_string());
        row("Reclaimable", (!record.in_use).to_string());
        row("Shared", record.shared.to_string());
        row("Size", human_size(record.size_bytes as f64));
        row("Description", record.description.clone());
        row("Usage count", record.usage_count.to_string());
        row("Last used", human_ago(record.last_used_at, now));
        row("Type", record.kind.clone());
        text.push_str(&columns(&rows));
        text.push('\n');
    }
    text
}

/// Go's text of a time.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
}

fn summary(records: &[CacheUsage]) -> String {
    let sum = |wanted: &dyn Fn(&&CacheUsage) -> bool| -> u64 {
        records.iter().filter(wanted).map(|record| record.size_bytes).sum()
    };
    let total = sum(&|_| true);
    let shared = sum(&|record| record.shared);
    let size = |bytes: u64| human_size(bytes as f64);
    let mut rows = Vec::new();
    if shared > 0 {
        rows.push(vec!["Shared:".to_owned(), size(shared)]);
        rows.push(vec!["Private:".to_owned(), size(total - shared)]);
    }
    rows.push(vec!["Reclaimable:".to_owned(), size(sum(&|record| !record.in_use))]);
    rows.push(vec!["Total:".to_owned(), size(total)]);
    columns(&rows)
}

/// Cells with tab stops between them, the last one of each row as it is.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells =
            rows.iter().filter(|row| row.len() > column + 1).filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
        (widest / TAB + 1) * TAB
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let is_last = column + 1 == row.len();
            let width = widths.get(column).copied().filter(|_| !is_last).unwrap_or_default();
            // Writing to a String cannot fail.
            let tabs = width.saturating_sub(cell.chars().count()).div_ceil(TAB);
            let _ = write!(text, "{cell}{}", "\t".repeat(tabs));
        }
        text.push('\n');
    }
    text
}

/// A document for each record.
fn lines(
    records: &[CacheUsage],
    now: Timestamp,
    mut line: impl FnMut(Value) -> Result<String, Failure>,
) -> Result<String, Failure> {
    records.iter().map(|record| line(document(record, now))).collect()
}

fn document(record: &CacheUsage, now: Timestamp) -> Value {
    let elapsed = nanoseconds_between(record.last_used_at, now);
    debug_assert!(elapsed >= 0 || record.last_used_at > now);
    json!({
        "ID": record.id,
        "Parents": record.parents,
        "CreatedAt": record.created_at.to_string(),
        "Mutable": record.is_mutable(),
        "Reclaimable": !record.in_use,
        "Shared": record.shared,
        "Size": human_size(record.size_bytes as f64),
        "Description": record.description,
        "UsageCount": record.usage_count,
        "LastUsedAt": record.last_used_at.to_string(),
        "Type": record.kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, kind: &str, size_bytes: u64) -> CacheUsage {
        CacheUsage {
            id: id.to_owned(),
            parents: Vec::new(),
            kind: kind.to_owned(),
            description: "an instruction".to_owned(),
            in_use: false,
            shared: false,
            size_bytes,
            created_at: Timestamp::from_second(0).unwrap_or_default(),
            last_used_at: Timestamp::from_second(3600).unwrap_or_default(),
            usage_count: 2,
        }
    }

    #[test]
    fn tables_are_those_of_buildx() {
        let now = Timestamp::from_second(7200).unwrap_or_default();
        let mut shared = record("p5osckx5ahgl5zozvkfdyd2ts", "regular", 4_270_000);
        shared.shared = true;
        let records = [shared, record("cache-go-1", "exec.cachemount", 12)];
        assert_eq!(
            table(&records, now),
            "ID\t\t\t\t\t\tRECLAIMABLE\tSIZE\t\tLAST ACCESSED\n\
             p5osckx5ahgl5zozvkfdyd2ts               \ttrue \t\t4.27MB*   \tAbout an hour ago\n\
             cache-go-1*                             \ttrue \t\t12B       \tAbout an hour ago\n"
        );
        assert_eq!(
            summary(&records),
            "Shared:\t\t4.27MB\nPrivate:\t12B\nReclaimable:\t4.27MB\nTotal:\t\t4.27MB\n"
        );
        assert!(details(&records, now).starts_with(
            "ID:\t\tp5osckx5ahgl5zozvkfdyd2ts\nCreated at:\t1970-01-01 00:00:00 +0000 UTC\nMutable:\tfalse\n"
        ));
    }
}
