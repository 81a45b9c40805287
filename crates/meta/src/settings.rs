//! Facts about the store itself, for instance which storage driver it was made with.

use rusqlite::params;

use crate::{Query, Result};

impl Query<'_> {
    /// A setting's value.
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        self.row(
            "read a setting",
            "SELECT value FROM settings WHERE key = ?1",
            params![key],
            |row| row.get(0),
        )
    }

    /// Makes or replaces a setting.
    pub fn setting_put(&self, key: &str, value: &str) -> Result<()> {
        self.change(
            "write a setting",
            "INSERT INTO settings (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![key, value],
        )
        .map(drop)
    }
}
