//! `pause`, `unpause`, `top`, `stats` and `system start-all`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use orlop_engine::{ContainerStats, StatsSample};
use orlop_types::size::{binary_size, table_size};
use serde_json::{Value, json};

use super::{Session, for_each};
use crate::args::{Names, Stats, Top};
use crate::failure::{Failure, Outcome};
use crate::format::ListStyle;

/// Time between two measurements.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// Digits of a shortened id.
const SHORT_ID: usize = 12;
/// Least width of a column of `top`, and blanks behind one.
const TOP_COLUMN: (usize, usize) = (20, 3);

/// `stats`
pub const STATS: ListStyle<'static> = ListStyle {
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
    headings: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    row_type: "*container.statsContext",
};

/// `pause`
pub fn pause(session: &mut Session<'_, '_>, args: &Names) -> Outcome {
    for_each(session, "pause", &args.names, |session, name| {
        session.engine.container_pause(name)?;
        Ok(session.streams.line(name)?)
    })
}

/// `unpause`
pub fn unpause(session: &mut Session<'_, '_>, args: &Names) -> Outcome {
    for_each(session, "unpause", &args.names, |session, name| {
        session.engine.container_unpause(name)?;
        Ok(session.streams.line(name)?)
    })
}

/// `system start-all`
pub fn start_all(session: &mut Session<'_, '_>) -> Outcome {
    let mut code = 0;
    for started in session.engine.start_all()? {
        match started.error {
            None => session.streams.line(&started.name)?,
            Some(error) => {
                code = 1;
                let failure = Failure::from(orlop_engine::Error::from(error));
                session.tell(&failure.during(&started.name))?;
            }
        }
    }
    Ok(code)
}

/// `top`
pub fn top(session: &mut Session<'_, '_>, args: &Top) -> Outcome {
    let (name, options) = args.container_and_options();
    let list = session.engine.container_top(name, options)?;
    let text = columns(std::iter::once(&list.titles).chain(&list.processes));
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// Rows in columns as wide as Docker makes those of `top`; the last one is not padded.
fn columns<'a>(rows: impl Iterator<Item = &'a Vec<String>>) -> String {
    let rows: Vec<&Vec<String>> = rows.collect();
    let (least, blanks) = TOP_COLUMN;
    let count = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            least.max(longest + blanks)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(row.len().saturating_sub(1)) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(row.last().map_or("", String::as_str));
        text.push('\n');
    }
    text
}

/// `stats`
pub fn stats(session: &mut Session<'_, '_>, args: &Stats) -> Outcome {
    let format = session.format(args.format.as_deref());
    // What is not there, or no format, is told before anything is measured.
    STATS.render(format.as_deref(), false, &[])?;
    let mut before = measure(session, args)?;
    let is_terminal = std::io::stdout().is_terminal();
    loop {
        std::thread::sleep(STATS_INTERVAL);
        let now = match measure(session, args) {
            // All that were asked for are gone: there is nothing more to show.
            Err(_) if !args.no_stream && !args.names.is_empty() => return Ok(0),
            other => other?,
        };
        let earlier: BTreeMap<&str, &StatsSample> =
            before.iter().map(|(_, stats)| (stats.id.as_str(), &stats.sample)).collect();
        let rows: Vec<Value> = now
            .iter()
            .map(|(container, stats)| {
                let before = earlier.get(stats.id.as_str()).copied();
                row(container, stats, before.unwrap_or(&StatsSample::default()), args.no_trunc)
            })
            .collect();
        let text = STATS.render(format.as_deref(), false, &rows)?;
        let text = if is_terminal && !args.no_stream { on_screen(&text) } else { text };
        session.streams.out.write_all(text.as_bytes())?;
        session.streams.out.flush()?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

/// One measurement of each container, by the name it was asked for.
fn measure(
    session: &Session<'_, '_>,
    args: &Stats,
) -> Result<Vec<(String, ContainerStats)>, Failure> {
    let engine = session.engine;
    if args.names.is_empty() {
        let all = engine.container_stats_all(args.all)?;
        return Ok(all.into_iter().map(|stats| (stats.id.short().to_owned(), stats)).collect());
    }
    let named = args.names.iter().map(|name| Ok((name.clone(), engine.container_stats(name)?)));
    named.collect()
}

fn row(container: &str, stats: &ContainerStats, before: &StatsSample, full: bool) -> Value {
    let id = stats.id.as_str();
    let sample = &stats.sample;
    let pair = |(one, other): (u64, u64)| format!("{} / {}", table_size(one), table_size(other));
    json!({
        "BlockIO": pair((sample.read, sample.written)),
        "CPUPerc": format!("{:.2}%", stats.cpu_percent(before)),
        "Container": container,
        "ID": if full { id } else { id.get(..SHORT_ID).unwrap_or(id) },
        "MemPerc": format!("{:.2}%", stats.memory_percent()),
        "MemUsage": format!("{} / {}", bytes(sample.memory), bytes(sample.memory_limit)),
        "Name": stats.name,
        "NetIO": pair(stats.network()),
        "PIDs": sample.pids.to_string(),
    })
}

/// Sizes are shown with four digits: that large ones lose their last is of no consequence.
#[allow(clippy::cast_precision_loss)]
fn bytes(count: u64) -> String {
    binary_size(count as f64)
}

/// The text over what stood on the screen before, without flicker.
fn on_screen(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_dockers() {
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let rows =
            [words("UID|PID|CMD"), words("root|17|sleep 5"), words("a-very-long-user-name|1|x")];
        let text = columns(rows.iter());
        assert_eq!(
            text,
            "UID                     PID                 CMD\n\
             root                    17                  sleep 5\n\
             a-very-long-user-name   1                   x\n"
        );
    }

    #[test]
    fn a_row_of_stats() {
        let sample = StatsSample {
            cpu_ns: [500, 0, 0],
            machine_ns: 2000,
            processors: 2,
            memory: 1536 << 10,
            memory_limit: 3 << 20,
            read: 1_230_000,
            pids: 3,
            ..StatsSample::default()
        };
        let stats = ContainerStats {
            id: orlop_types::ContainerId::of_bytes(&[0xab; 32]),
            name: "web".to_owned(),
            running: true,
            sample,
        };
        let before = StatsSample { machine_ns: 1000, ..StatsSample::default() };
        let shown = row("web", &stats, &before, false);
        let field = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(field("ID"), "abababababab");
        assert_eq!(field("CPUPerc"), "100.00%");
        assert_eq!(field("MemUsage"), "1.5MiB / 3MiB");
        assert_eq!(field("MemPerc"), "50.00%");
        assert_eq!(field("NetIO"), "0B / 0B");
        assert_eq!(field("BlockIO"), "1.23MB / 0B");
        assert_eq!(field("PIDs"), "3");
    }
}
