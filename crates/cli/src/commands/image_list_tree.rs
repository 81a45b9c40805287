//! `images --tree`: Docker's table of images with what they take up.
//!
//! As in Docker, images without a name are shown with `--all` only, and the table fits the terminal:
//! the name gives way first, then whole columns do.

use orlop_engine::ImageSummary;
use orlop_types::size::table_size;

use super::Session;
use crate::args::ListImages;
use crate::failure::{Failure, Outcome};
use crate::format::ellipsis;
use crate::help::columns;
use crate::paint::{Ink, Paint};

const SPACING: usize = 3;
const NAME_MIN: usize = 12;
const WARNING: &str =
    "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";
const LEGEND: &str = "Info ->  U In Use ";

/// One image.
struct Row {
    names: Vec<String>,
    cells: [String; 4],
}

/// A column besides the name.
struct Column {
    title: &'static str,
    width: usize,
    align: fn(&str, usize) -> String,
}

const COLUMNS: [Column; 4] = [
    Column { title: "ID", width: 12, align: left },
    Column { title: "DISK USAGE", width: 10, align: right },
    Column { title: "CONTENT SIZE", width: 12, align: right },
    Column { title: "EXTRA", width: 5, align: center },
];

/// `images --tree`
pub fn list(session: &mut Session<'_, '_>, args: &ListImages, images: &[ImageSummary]) -> Outcome {
    let refused = [
        (args.list.quiet, "--quiet"),
        (args.no_trunc, "--no-trunc"),
        (args.digests, "--show-digest"),
        (args.list.format.is_some(), "--format"),
    ];
    if let Some((_, flag)) = refused.into_iter().find(|(given, _)| *given) {
        return Err(Failure::new(format!("{flag} is not yet supported with --tree")));
    }
    let contents = session.engine.image_content_bytes()?;
    let mut images: Vec<&ImageSummary> = images.iter().collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let rows: Vec<Row> = images
        .into_iter()
        .filter(|image| args.all || !image.repo_tags.is_empty())
        .map(|image| {
            let names = match image.repo_tags.is_empty() {
                true => vec!["<untagged>".to_owned()],
                false => image.repo_tags.clone(),
            };
            let content = contents.get(&image.id).copied().unwrap_or(0);
            let used = if image.containers > 0 { "U" } else { "" };
            let id = image.id.digest().hex().chars().take(12).collect();
            let cells = [id, table_size(image.size), table_size(content), used.to_owned()];
            Row { names, cells }
        })
        .collect();
    let text = text(&rows, columns(), Paint::of_stdout());
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

fn text(rows: &[Row], columns: usize, paint: Paint) -> String {
    let (shown, room) = fitting(columns.max(20));
    let names = rows.iter().flat_map(|row| &row.names).map(|name| name.chars().count());
    let name_width = names.max().unwrap_or(0).max("IMAGE".len()).min(room);
    let width = shown.iter().map(|column| column.width + SPACING).sum::<usize>() + name_width;
    let mut out = format!("{}\n{LEGEND:>width$}\n\n", paint.ink(Ink::Yellow, WARNING));
    let gap = " ".repeat(SPACING);
    out.push_str(&paint.ink(Ink::Bold, "IMAGE"));
    out.push_str(&" ".repeat(name_width - "IMAGE".len()));
    for column in shown {
        let title = (column.align)(column.title, column.width);
        out.push_str(&format!("{gap}{}", paint.ink(Ink::Bold, &title)));
    }
    out.push('\n');
    for row in rows {
        for (at, name) in row.names.iter().enumerate() {
            let cut = ellipsis(name, name_width);
            let fill = name_width - cut.chars().count();
            out.push_str(&paint.ink(Ink::Blue, &cut));
            if at + 1 < row.names.len() {
                out.push('\n');
            } else {
                out.push_str(&" ".repeat(fill));
            }
        }
        for (column, cell) in shown.iter().zip(&row.cells) {
            out.push_str(&format!("{gap}{}", (column.align)(cell, column.width)));
        }
        out.push('\n');
    }
    out
}

/// The columns that fit beside a name, and the room for that.
fn fitting(columns: usize) -> (&'static [Column], usize) {
    let mut room = columns;
    for (at, column) in COLUMNS.iter().enumerate() {
        let taken = column.width + SPACING;
        if room < taken + NAME_MIN {
            return (COLUMNS.get(..at).unwrap_or_default(), room);
        }
        room -= taken;
    }
    (&COLUMNS, room)
}

fn left(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

fn center(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_dockers() {
        let cells = |id: &str, size: &str, used: &str| {
            [id.repeat(12), size.to_owned(), "0B".to_owned(), used.to_owned()]
        };
        let name = |text: &str| text.to_owned();
        let rows = [
            Row {
                names: vec![name("busybox:latest"), name("bb:1")],
                cells: cells("a", "4.28MB", "U"),
            },
            Row {
                names: vec![name("localhost:5000/some/longer-name-of-an-image:v1.2.3")],
                cells: cells("c", "0B", ""),
            },
        ];
        let want = "\
WARNING: This is an experimental feature. The output may change and shouldn't be depended on.
                                                              Info ->  U In Use 

IMAGE                           ID             DISK USAGE   CONTENT SIZE   EXTRA
busybox:latest
bb:1                            aaaaaaaaaaaa       4.28MB             0B     U  
localhost:5000/some/longer-n…   cccccccccccc           0B             0B        
";
        assert_eq!(text(&rows, 80, Paint::plain()), want);
        let narrow = text(&rows, 40, Paint::plain());
        assert_eq!(narrow.lines().nth(3), Some("IMAGE          ID             DISK USAGE"));
    }
}
