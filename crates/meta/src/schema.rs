//! The tables, and how a database of an earlier version becomes one of this version.
//!
//! `PRAGMA user_version` holds the format. A migration is one entry of [`MIGRATIONS`]; it is never
//! edited once released. Reader rule: a format above the newest known one is refused.

use rusqlite::Connection;

/// Migrations in order; the format's number is how many have run.
pub(crate) const MIGRATIONS: [&str; 5] = [
    r"
CREATE TABLE settings (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL
) STRICT;

-- A read-only layer on its parents. `key` is the storage driver's name for it.
CREATE TABLE layers (
    chain_id   TEXT PRIMARY KEY,
    diff_id    TEXT NOT NULL,
    parent     TEXT REFERENCES layers (chain_id) ON DELETE RESTRICT,
    key        TEXT NOT NULL UNIQUE,
    size_bytes INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX layers_by_parent ON layers (parent);

CREATE TABLE images (
    id         TEXT PRIMARY KEY,
    top_layer  TEXT REFERENCES layers (chain_id) ON DELETE RESTRICT,
    config     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX images_by_layer ON images (top_layer);

CREATE TABLE tags (
    reference  TEXT PRIMARY KEY,
    image      TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX tags_by_image ON tags (image);

CREATE TABLE volumes (
    name       TEXT PRIMARY KEY,
    driver     TEXT NOT NULL,
    labels     TEXT,
    options    TEXT,
    anonymous  INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- `image` goes when an image is removed by force; the layer stays as long as the container.
CREATE TABLE containers (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    image       TEXT REFERENCES images (id) ON DELETE SET NULL,
    image_id    TEXT NOT NULL,
    top_layer   TEXT REFERENCES layers (chain_id) ON DELETE RESTRICT,
    config      TEXT NOT NULL,
    host_config TEXT NOT NULL,
    mounts      TEXT NOT NULL,
    status      TEXT NOT NULL,
    state       TEXT NOT NULL,
    created_at  TEXT NOT NULL
) STRICT;
CREATE INDEX containers_by_image ON containers (image);
CREATE INDEX containers_by_layer ON containers (top_layer);
CREATE INDEX containers_by_status ON containers (status);

CREATE TABLE container_volumes (
    container  TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    volume     TEXT NOT NULL REFERENCES volumes (name) ON DELETE RESTRICT ON UPDATE CASCADE,
    PRIMARY KEY (container, volume)
) STRICT;
CREATE INDEX container_volumes_by_volume ON container_volumes (volume);

-- Images that a container mounts beside its own (`type=image`).
CREATE TABLE container_images (
    container  TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    image      TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (container, image)
) STRICT;
CREATE INDEX container_images_by_image ON container_images (image);

CREATE TABLE networks (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    settings     TEXT NOT NULL,
    last_address TEXT,
    created_at   TEXT NOT NULL
) STRICT;
-- What a container is connected to when it runs. By name: the network may go before the container.
CREATE TABLE container_networks (
    position   INTEGER PRIMARY KEY,
    container  TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    network    TEXT NOT NULL,
    settings   TEXT NOT NULL,
    UNIQUE (container, network)
) STRICT;
-- Addresses and ports of running containers.
CREATE TABLE endpoints (
    container  TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    network    TEXT NOT NULL REFERENCES networks (id) ON DELETE RESTRICT,
    id         TEXT NOT NULL,
    address    TEXT NOT NULL,
    plan       TEXT NOT NULL,
    PRIMARY KEY (container, network),
    UNIQUE (network, address)
) STRICT;
CREATE TABLE published_ports (
    container  TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    protocol   TEXT NOT NULL,
    host_ip    TEXT NOT NULL,
    host_port  INTEGER NOT NULL,
    PRIMARY KEY (protocol, host_port, host_ip)
) STRICT;
CREATE INDEX published_ports_by_container ON published_ports (container);

CREATE TABLE events (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns    INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    action     TEXT NOT NULL,
    actor      TEXT NOT NULL,
    attributes TEXT NOT NULL
) STRICT;

CREATE TABLE trash (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    path       TEXT NOT NULL,
    record     TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
",
    r"
-- What trees came to when they were last measured: kept only to save time.
CREATE TABLE container_sizes (
    container  TEXT PRIMARY KEY REFERENCES containers (id) ON DELETE CASCADE,
    size_bytes INTEGER NOT NULL,
    taken_ns   INTEGER NOT NULL
) STRICT;
CREATE TABLE volume_sizes (
    volume     TEXT PRIMARY KEY REFERENCES volumes (name) ON DELETE CASCADE ON UPDATE CASCADE,
    size_bytes INTEGER NOT NULL,
    taken_ns   INTEGER NOT NULL
) STRICT;
-- A container that starts or ends has written, or will.
CREATE TRIGGER sizes_forget AFTER UPDATE OF status ON containers BEGIN
    DELETE FROM container_sizes WHERE container = NEW.id;
    DELETE FROM volume_sizes
        WHERE volume IN (SELECT volume FROM container_volumes WHERE container = NEW.id);
END;
",
    r"
-- Blobs in `content/`, and what they are needed for: an image, or a layer of that content.
CREATE TABLE content (
    digest     TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE layer_blobs (
    diff_id    TEXT NOT NULL,
    blob       TEXT NOT NULL REFERENCES content (digest) ON DELETE CASCADE,
    tar_bytes  INTEGER NOT NULL,
    PRIMARY KEY (diff_id, blob)
) STRICT;
CREATE INDEX layer_blobs_by_blob ON layer_blobs (blob);
CREATE INDEX layers_by_diff_id ON layers (diff_id);
CREATE TABLE image_manifests (
    image      TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    manifest   TEXT NOT NULL REFERENCES content (digest) ON DELETE RESTRICT,
    from_index TEXT REFERENCES content (digest) ON DELETE RESTRICT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (image, manifest)
) STRICT;
CREATE INDEX image_manifests_by_manifest ON image_manifests (manifest);
CREATE INDEX image_manifests_by_index ON image_manifests (from_index);
-- Where a blob was seen: a registry can take it over from there.
CREATE TABLE blob_repositories (
    blob       TEXT NOT NULL REFERENCES content (digest) ON DELETE CASCADE,
    repository TEXT NOT NULL,
    seen_at    TEXT NOT NULL,
    PRIMARY KEY (blob, repository)
) STRICT;
",
    r"
-- Layers that are kept for later builds, and the keys that lead to them.
CREATE TABLE build_cache (
    layer        TEXT PRIMARY KEY REFERENCES layers (chain_id) ON DELETE RESTRICT,
    id           TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    description  TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    last_used_ns INTEGER NOT NULL,
    usage_count  INTEGER NOT NULL
) STRICT;
CREATE TABLE build_cache_keys (
    key              TEXT PRIMARY KEY,
    layer            TEXT NOT NULL REFERENCES build_cache (layer) ON DELETE CASCADE,
    operation_digest TEXT,
    operation        TEXT,
    parent           TEXT,
    inputs           TEXT,
    made_ns          INTEGER NOT NULL
) STRICT;
CREATE INDEX build_cache_keys_by_layer ON build_cache_keys (layer);
CREATE INDEX build_cache_keys_by_operation ON build_cache_keys (operation_digest, made_ns);
CREATE INDEX build_cache_keys_by_parent ON build_cache_keys (parent, made_ns);
",
    r"
-- `build-step`: the container of a RUN, which lists do not show.
ALTER TABLE containers ADD COLUMN purpose TEXT NOT NULL DEFAULT 'container';
CREATE INDEX containers_by_purpose ON containers (purpose) WHERE purpose <> 'container';
",
];

/// Newest format that this program reads and writes.
pub(crate) const NEWEST_FORMAT: i64 = MIGRATIONS.len() as i64;

/// Reads the database's format; 0 is an empty one.
pub(crate) fn format(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the database to [`NEWEST_FORMAT`]; each migration commits together with its number.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    loop {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let present = format(&transaction)?;
        let Some(sql) = usize::try_from(present).ok().and_then(|at| MIGRATIONS.get(at)) else {
            return Ok(());
        };
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", present + 1)?;
        transaction.commit()?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A volume with a container that uses it, in a database of format 1.
    const FIRST_ROWS: &str = "
        INSERT INTO volumes VALUES ('db', 'local', NULL, NULL, 0, '2026-01-01T00:00:00Z');
        INSERT INTO containers (id, name, image, image_id, top_layer, config, host_config, mounts, status, state,
            created_at) VALUES
            ('c1', 'one', NULL, 'sha256:0', NULL, '{}', '{}', '[]', 'created', '{}', '2026-01-01T00:00:00Z');
        INSERT INTO container_volumes VALUES ('c1', 'db');";

    #[test]
    fn a_database_of_the_first_format_is_upgraded_with_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection.execute_batch(FIRST_ROWS).unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(format(&connection).unwrap(), NEWEST_FORMAT);
        let name: String =
            connection.query_row("SELECT name FROM volumes", [], |row| row.get(0)).unwrap();
        assert_eq!(name, "db");
    }

    #[test]
    fn a_kept_size_ends_with_the_next_start_and_with_its_object() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        migrate(&mut connection).unwrap();
        connection.execute_batch(FIRST_ROWS).unwrap();
        let keep = "INSERT INTO volume_sizes VALUES ('db', 7, 1); INSERT INTO container_sizes VALUES ('c1', 8, 1);";
        let kept = |connection: &Connection| -> (i64, i64) {
            let sql = "SELECT (SELECT count(*) FROM volume_sizes), (SELECT count(*) FROM container_sizes)";
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        connection.execute_batch(keep).unwrap();
        connection.execute("UPDATE containers SET name = 'other'", []).unwrap();
        assert_eq!(kept(&connection), (1, 1));
        connection.execute("UPDATE containers SET status = 'running'", []).unwrap();
        assert_eq!(kept(&connection), (0, 0));
        connection.execute_batch(keep).unwrap();
        connection.execute("DELETE FROM containers", []).unwrap();
        assert_eq!(kept(&connection), (1, 0));
        connection.execute("UPDATE volumes SET name = 'renamed'", []).unwrap();
        assert_eq!(kept(&connection), (1, 0));
        connection.execute("DELETE FROM volumes", []).unwrap();
        assert_eq!(kept(&connection), (0, 0));
    }
}
