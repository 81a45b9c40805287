//! Names of the containers of a network: one small file for each that runs.
//!
//! A file is made and replaced by rename; its name is the container's id, with a dot before it while
//! the container is not on the network. What was read is kept as long as the directory's time of
//! change tells that it holds; a change within the clock's resolution would not show, so that what was
//! read right after a change is read again.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use orlop_types::network::{NameRecord, NamedNetwork, ResolverPlan};

use super::wire::{Answer, Kind, Question, pointed_address};

/// More containers than a bridge has ports.
const RECORDS_MAX: usize = 4096;
/// Far more than the names of one container.
const RECORD_MAX_BYTES: u64 = 256 << 10;
/// How old a change must be to be told from the next one by its time.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(50);

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Records {
    networks: HashMap<PathBuf, Known>,
    /// Moves on with each answer, so that containers of one name take turns.
    turn: usize,
}

#[derive(Debug)]
struct Known {
    changed: SystemTime,
    read: SystemTime,
    records: Vec<NameRecord>,
}

impl Records {
    /// Answers a question from the files.
    pub(super) fn answer(&mut self, plan: &ResolverPlan, question: &Question<'_>) -> Answer {
        if question.kind == Kind::Pointer {
            let name = pointed_address(&question.name).and_then(|ip| self.name_of(plan, ip));
            return name.map_or(Answer::Unknown, Answer::Name);
        }
        let mut addresses = self.addresses_of(plan, &question.name);
        if addresses.is_empty() {
            return Answer::Unknown;
        }
        if question.kind != Kind::Address {
            return Answer::Empty;
        }
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(first);
        Answer::Addresses(addresses)
    }

    fn addresses_of(&mut self, plan: &ResolverPlan, name: &str) -> Vec<Ipv4Addr> {
        let linked = plan.links.get(name).map(String::as_str);
        let wanted = linked.unwrap_or(name);
        for network in &plan.networks {
            let suffix = format!(".{}", network.name.to_lowercase());
            let short = wanted.strip_suffix(&suffix);
            let found: Vec<Ipv4Addr> = self
                .read(network)
                .iter()
                .filter(|record| {
                    let is =
                        |text: &str| record.names.iter().any(|one| one.eq_ignore_ascii_case(text));
                    is(wanted) || short.is_some_and(is)
                })
                .map(|record| record.address)
                .collect();
            // The first network that knows the name has the last word, as in Docker.
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn name_of(&mut self, plan: &ResolverPlan, address: Ipv4Addr) -> Option<String> {
        plan.networks.iter().find_map(|network| {
            let record = self.read(network).iter().find(|record| record.address == address)?;
            Some(format!("{}.{}", record.names.first()?, network.name))
        })
    }

    fn read(&mut self, network: &NamedNetwork) -> &[NameRecord] {
        let directory = &network.records;
        let changed = std::fs::metadata(directory).and_then(|data| data.modified());
        let changed = changed.unwrap_or(SystemTime::UNIX_EPOCH);
        let holds =
            |known: &Known| known.changed == changed && known.read >= changed + CLOCK_RESOLUTION;
        if !self.networks.get(directory).is_some_and(holds) {
            let read = SystemTime::now();
            let records = read_directory(directory);
            self.networks.insert(directory.clone(), Known { changed, read, records });
        }
        self.networks.get(directory).map_or(&[], |known| &known.records)
    }
}

/// Reads every record; one that cannot be read is as good as none.
fn read_directory(directory: &Path) -> Vec<NameRecord> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_shown =
        |entry: &std::fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut records = Vec::new();
    for entry in entries.flatten().filter(is_shown).take(RECORDS_MAX) {
        let small = entry.metadata().is_ok_and(|data| data.len() <= RECORD_MAX_BYTES);
        let text = if small { std::fs::read(entry.path()).ok() } else { None };
        let record = text.and_then(|text| serde_json::from_slice::<NameRecord>(&text).ok());
        records.extend(record);
    }
    // The order of a directory is nobody's.
    records.sort_by_key(|record| record.address);
    records
}
