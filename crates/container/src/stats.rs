//! `stats`: what a container uses of the machine, as its control groups and network tell.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use orlop_meta::{ContainerRecord, ContainerStatus, Purpose};
use orlop_runtime::cgroup::{ContainerCgroup, is_unified};
use orlop_types::ContainerId;
use serde_json::{Value, json};

use crate::{Containers, Result};

/// Clock ticks in a second, as the kernel counts them for programs.
const TICKS_PER_SECOND: u64 = 100;

/// Bytes that went over one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// Its name inside the container.
    pub name: String,
    /// Received: bytes, packets, errors, dropped.
    pub received: [u64; 4],
    /// Sent: bytes, packets, errors, dropped.
    pub sent: [u64; 4],
}

/// What a container has used up to a moment; all zero for one that does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsSample {
    /// When.
    pub at: Timestamp,
    /// Processor time in nanoseconds: whole, in the kernel, in programs.
    pub cpu_ns: [u64; 3],
    /// Processor time of the whole machine in nanoseconds.
    pub machine_ns: u64,
    /// Processors of the machine.
    pub processors: u32,
    /// Bytes of memory, without what the kernel would give back at once.
    pub memory: u64,
    /// Bytes of memory with everything.
    pub memory_all: u64,
    /// Upper bound of that: the container's, or the machine's memory.
    pub memory_limit: u64,
    /// Interfaces of a container with a network of its own.
    pub interfaces: Vec<InterfaceStats>,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Upper bound of that; 0 is none.
    pub pids_limit: u64,
}

/// One container's use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStats {
    /// Which.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// What it has used.
    pub sample: StatsSample,
}

impl Containers<'_> {
    /// What a container has used up to now.
    pub fn stats(&self, name: &str) -> Result<ContainerStats> {
        let container = self.get(name)?;
        Ok(self.stats_of(&container))
    }

    /// What every container has used up to now, newest first; `all` includes those that do not run.
    pub fn stats_all(&self, all: bool) -> Result<Vec<ContainerStats>> {
        self.settle_all()?;
        let containers = self
            .store
            .read(|query| if all { query.containers() } else { query.containers_active() })?;
        let containers = containers.iter().filter(|it| it.purpose == Purpose::Container);
        Ok(containers.map(|container| self.stats_of(container)).collect())
    }

    fn stats_of(&self, container: &ContainerRecord) -> ContainerStats {
        let running =
            matches!(container.state.status, ContainerStatus::Running | ContainerStatus::Paused);
        let sample = match self.group(container) {
            Ok(group) if running => sample(&group, container),
            _ => StatsSample { at: Timestamp::now(), ..StatsSample::default() },
        };
        let name = container.name.as_str().to_owned();
        ContainerStats { id: container.id.clone(), name, running, sample }
    }
}

impl ContainerStats {
    /// Percent of one processor that was used since `before`.
    #[must_use]
    pub fn cpu_percent(&self, before: &StatsSample) -> f64 {
        let (now, used) = (&self.sample, self.sample.cpu_ns[0].saturating_sub(before.cpu_ns[0]));
        let elapsed = now.machine_ns.saturating_sub(before.machine_ns);
        if used == 0 || elapsed == 0 || before.machine_ns == 0 {
            return 0.0;
        }
        as_f64(used) / as_f64(elapsed) * f64::from(now.processors) * 100.0
    }

    /// Percent of the memory that it may use.
    #[must_use]
    pub fn memory_percent(&self) -> f64 {
        match self.sample.memory_limit {
            0 => 0.0,
            limit => as_f64(self.sample.memory) / as_f64(limit) * 100.0,
        }
    }

    /// Bytes received and sent.
    #[must_use]
    pub fn network(&self) -> (u64, u64) {
        let interfaces = &self.sample.interfaces;
        let sum = |bytes: fn(&InterfaceStats) -> u64| interfaces.iter().map(bytes).sum();
        (sum(|interface| interface.received[0]), sum(|interface| interface.sent[0]))
    }

    /// Docker's document, with the sample before it.
    #[must_use]
    pub fn document(&self, before: &StatsSample) -> Value {
        if !self.running {
            return json!({
                "id": self.id, "name": format!("/{}", self.name), "os_type": "linux",
                "read": "0001-01-01T00:00:00Z", "preread": "0001-01-01T00:00:00Z",
                "pids_stats": {}, "cpu_stats": {}, "precpu_stats": {}, "memory_stats": {},
                "blkio_stats": {}, "num_procs": 0, "storage_stats": {},
            });
        }
        let sample = &self.sample;
        let cpu = |sample: &StatsSample| {
            json!({
                "cpu_usage": {
                    "total_usage": sample.cpu_ns[0],
                    "usage_in_kernelmode": sample.cpu_ns[1],
                    "usage_in_usermode": sample.cpu_ns[2],
                },
                "system_cpu_usage": sample.machine_ns,
                "online_cpus": sample.processors,
            })
        };
        let networks: serde_json::Map<String, Value> = sample
            .interfaces
            .iter()
            .map(|interface| {
                let InterfaceStats { name, received, sent } = interface;
                let document = json!({
                    "rx_bytes": received[0], "rx_packets": received[1],
                    "rx_errors": received[2], "rx_dropped": received[3],
                    "tx_bytes": sent[0], "tx_packets": sent[1],
                    "tx_errors": sent[2], "tx_dropped": sent[3],
                });
                (name.clone(), document)
            })
            .collect();
        let entry = |operation: &str, value: u64| json!({ "major": 0, "minor": 0, "op": operation, "value": value });
        json!({
            "id": self.id,
            "name": format!("/{}", self.name),
            "os_type": "linux",
            "read": crate::clock::text(sample.at),
            "preread": crate::clock::text(before.at),
            "cpu_stats": cpu(sample),
            "precpu_stats": cpu(before),
            "memory_stats": {
                "usage": sample.memory_all,
                "stats": { "inactive_file": sample.memory_all.saturating_sub(sample.memory) },
                "limit": sample.memory_limit,
            },
            "networks": networks,
            "blkio_stats": {
                "io_service_bytes_recursive": [
                    entry("read", sample.read), entry("write", sample.written),
                ],
            },
            "pids_stats": { "current": sample.pids, "limit": sample.pids_limit },
            "num_procs": 0,
            "storage_stats": {},
        })
    }
}

/// Measures are shown with few digits: that large ones lose their last is of no consequence.
#[allow(clippy::cast_precision_loss)]
fn as_f64(value: u64) -> f64 {
    value as f64
}

fn sample(group: &ContainerCgroup, container: &ContainerRecord) -> StatsSample {
    let files = Files::of(group);
    let stat = read("/proc/stat");
    let mut sample = if is_unified() { files.unified() } else { files.legacy() };
    sample.at = Timestamp::now();
    (sample.machine_ns, sample.processors) = machine_time(&stat);
    let machine_memory = machine_memory(&read("/proc/meminfo"));
    // No limit is a number that no machine has.
    if sample.memory_limit == 0 || sample.memory_limit > machine_memory {
        sample.memory_limit = machine_memory;
    }
    if container.host_config.network_mode != "host" {
        sample.interfaces = interfaces(&read(format!("/proc/{}/net/dev", container.state.pid)));
    }
    sample
}

/// What is not there counts as empty: a controller that is missing, a container that ends.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// The value behind a name in a file of `name value` lines.
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, number)
}

/// The directories of a container's control groups.
struct Files {
    directories: Vec<PathBuf>,
}

impl Files {
    fn of(group: &ContainerCgroup) -> Self {
        Self { directories: group.directories() }
    }

    /// A file of whichever controller has it.
    fn read(&self, name: &str) -> String {
        self.directories
            .iter()
            .map(|directory| read(directory.join(name)))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    fn unified(&self) -> StatsSample {
        let cpu = self.read("cpu.stat");
        let microseconds = |name| field(&cpu, name).saturating_mul(1000);
        let memory_all = number(&self.read("memory.current"));
        let inactive = field(&self.read("memory.stat"), "inactive_file");
        let io = self.read("io.stat");
        StatsSample {
            cpu_ns: [
                microseconds("usage_usec"),
                microseconds("system_usec"),
                microseconds("user_usec"),
            ],
            memory: memory_all.saturating_sub(inactive),
            memory_all,
            memory_limit: number(&self.read("memory.max")),
            read: io_sum(&io, "rbytes="),
            written: io_sum(&io, "wbytes="),
            pids: number(&self.read("pids.current")),
            pids_limit: number(&self.read("pids.max")),
            ..StatsSample::default()
        }
    }

    fn legacy(&self) -> StatsSample {
        let memory_all = number(&self.read("memory.usage_in_bytes"));
        let inactive = field(&self.read("memory.stat"), "total_inactive_file");
        let io = self.read("blkio.throttle.io_service_bytes_recursive");
        StatsSample {
            cpu_ns: [
                number(&self.read("cpuacct.usage")),
                number(&self.read("cpuacct.usage_sys")),
                number(&self.read("cpuacct.usage_user")),
            ],
            memory: memory_all.saturating_sub(inactive),
            memory_all,
            memory_limit: number(&self.read("memory.limit_in_bytes")),
            read: operation_sum(&io, "Read"),
            written: operation_sum(&io, "Write"),
            pids: number(&self.read("pids.current")),
            pids_limit: number(&self.read("pids.max")),
            ..StatsSample::default()
        }
    }
}

/// Sum over all devices of `io.stat`.
fn io_sum(text: &str, key: &str) -> u64 {
    text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)).map(number).sum()
}

/// Sum over all devices of a v1 file with lines `8:0 Read 123`.
fn operation_sum(text: &str, operation: &str) -> u64 {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            (words.next()? == operation).then(|| words.next().map_or(0, number))
        })
        .sum()
}

/// Time that all processors have spent, and how many there are, from `/proc/stat`.
fn machine_time(stat: &str) -> (u64, u32) {
    let mut total = 0;
    let mut processors = 0;
    for line in stat.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            // User, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
            Some("cpu") => total = words.take(8).map(number).sum::<u64>(),
            Some(name) if name.starts_with("cpu") => processors += 1,
            _ => {}
        }
    }
    (total.saturating_mul(1_000_000_000 / TICKS_PER_SECOND), processors)
}

fn machine_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next()).map_or(0, number);
    kilobytes.saturating_mul(1024)
}

/// Interfaces of `/proc/<pid>/net/dev` but the loopback.
fn interfaces(text: &str) -> Vec<InterfaceStats> {
    let parse = |line: &str| -> Option<InterfaceStats> {
        let (name, counts) = line.split_once(':')?;
        let counts: Vec<u64> = counts.split_ascii_whitespace().map(number).collect();
        let at = |index: usize| counts.get(index).copied().unwrap_or(0);
        Some(InterfaceStats {
            name: name.trim().to_owned(),
            received: [at(0), at(1), at(2), at(3)],
            sent: [at(8), at(9), at(10), at(11)],
        })
    };
    let mut found: Vec<InterfaceStats> =
        text.lines().skip(2).filter_map(parse).filter(|interface| interface.name != "lo").collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let io = "8:0 rbytes=4096 wbytes=10 rios=1 wios=1\n8:16 rbytes=4 wbytes=5\n";
        assert_eq!((io_sum(io, "rbytes="), io_sum(io, "wbytes=")), (4100, 15));
        let v1 = "8:0 Read 7\n8:0 Write 8\n8:0 Total 15\n9:0 Read 1\nTotal 16\n";
        assert_eq!((operation_sum(v1, "Read"), operation_sum(v1, "Write")), (8, 8));
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1\ncpu1 1 1\nintr 5\n";
        assert_eq!(machine_time(stat), (36 * 10_000_000, 2));
        assert_eq!(machine_memory("MemTotal:  2 kB\nMemFree: 1 kB\n"), 2048);
        assert_eq!(field("inactive_file 5\nfile 3\n", "file"), 3);
        let dev = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let found = interfaces(dev);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].received, found[0].sent), ([100, 2, 3, 4], [50, 6, 7, 8]));
    }

    #[test]
    fn shares_are_of_one_processor_and_of_the_limit() {
        let sample = |cpu, machine_ns| StatsSample {
            cpu_ns: [cpu, 0, 0],
            machine_ns,
            processors: 2,
            memory: 25,
            memory_limit: 100,
            ..StatsSample::default()
        };
        let stats = ContainerStats {
            id: ContainerId::of_bytes(&[1; 32]),
            name: "c".to_owned(),
            running: true,
            sample: sample(600, 2000),
        };
        assert!((stats.cpu_percent(&sample(100, 1000)) - 100.0).abs() < 1e-9);
        assert!(stats.cpu_percent(&StatsSample::default()).abs() < 1e-9);
        assert!((stats.memory_percent() - 25.0).abs() < 1e-9);
    }
}
