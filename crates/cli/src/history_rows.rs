//! Rows of `history`.

use jiff::Timestamp;
use orlop_engine::HistoryItem;
use orlop_types::duration::human_ago;
use orlop_types::size::table_size;
use serde_json::{Value, json};

use crate::format::{ListStyle, ellipsis};
use crate::rows::Width;

/// Characters of an instruction.
const CREATED_BY_MAX_CHARS: usize = 45;
/// Characters of a short id.
const SHORT_ID_CHARS: usize = 12;
const HEADINGS: &[(&str, &str)] = &[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

/// `history`
pub const HISTORY: ListStyle<'static> = ListStyle {
    row_type: "*image.historyContext",
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
    headings: HEADINGS,
};

/// `history --human=false`
pub const HISTORY_IN_NUMBERS: ListStyle<'static> = ListStyle {
    row_type: "*image.historyContext",
    table: "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
    headings: HEADINGS,
};

/// One row.
pub fn history(item: &HistoryItem, width: Width, human: bool, now: Timestamp) -> Value {
    let created = Timestamp::from_second(item.created).unwrap_or(Timestamp::UNIX_EPOCH);
    let created_at = created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let created_by = item.created_by.replace('\t', " ");
    let short = width == Width::Short;
    let id = item.id.strip_prefix("sha256:").filter(|_| short);
    json!({
        "Comment": item.comment,
        "CreatedAt": created_at,
        "CreatedBy": if short { ellipsis(&created_by, CREATED_BY_MAX_CHARS) } else { created_by },
        "CreatedSince": if human { human_ago(created, now) } else { created_at.clone() },
        "ID": id.map_or(item.id.as_str(), |id| id.get(..SHORT_ID_CHARS).unwrap_or(id)),
        "Size": if human { table_size(item.size) } else { item.size.to_string() },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dockers() {
        let item = HistoryItem {
            id: format!("sha256:{}", "ab".repeat(32)),
            created: 1_700_000_000,
            created_by: format!("/bin/sh -c\t{}", "x".repeat(60)),
            tags: None,
            size: 1_234_567,
            comment: "Imported from -".to_owned(),
        };
        let now = Timestamp::from_second(1_700_000_000 + 7200).unwrap();
        let row = history(&item, Width::Short, true, now);
        assert_eq!(row["ID"], "abababababab");
        assert_eq!(row["CreatedSince"], "2 hours ago");
        assert_eq!(row["CreatedBy"], format!("/bin/sh -c {}…", "x".repeat(33)));
        assert_eq!(row["Size"], "1.23MB");
        let row = history(&item, Width::Full, false, now);
        assert_eq!(row["ID"], item.id.as_str());
        assert_eq!(row["CreatedSince"], "2023-11-14T22:13:20Z");
        assert_eq!(row["Size"], "1234567");
        let missing = HistoryItem { id: "<missing>".to_owned(), ..item };
        assert_eq!(history(&missing, Width::Short, true, now)["ID"], "<missing>");
    }
}
