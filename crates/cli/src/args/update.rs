//! Flags of `update`, and the limits that it shares with `run`.

use clap::Args;

use super::number::{int64, uint16};

/// Limits that hold for the container as a whole and can be changed while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct LimitFlags {
    /// Share of block device time, 10 to 1000, or 0
    #[arg(long, value_name = "NUMBER", value_parser = uint16)]
    pub blkio_weight: Option<u16>,
    /// Period of the processor limit in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = int64)]
    pub cpu_period: Option<i64>,
    /// Processor time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = int64)]
    pub cpu_quota: Option<i64>,
    /// Period of the real-time limit in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = int64)]
    pub cpu_rt_period: Option<i64>,
    /// Real-time processor time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = int64)]
    pub cpu_rt_runtime: Option<i64>,
    /// Share of processor time against other containers
    #[arg(short = 'c', long, value_name = "NUMBER", value_parser = int64)]
    pub cpu_shares: Option<i64>,
    /// Number of processors
    #[arg(long, value_name = "DECIMAL")]
    pub cpus: Option<String>,
    /// Processors that may be used: 0-3, 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used: 0-3, 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Limit of kernel memory, which kernels no longer have
    #[arg(long, value_name = "BYTES", hide = true)]
    pub kernel_memory: Option<String>,
    /// Limit of memory
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Soft limit of memory
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<String>,
    /// Limit of memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "BYTES")]
    pub memory_swap: Option<String>,
    /// Limit of processes; -1 for none
    #[arg(long, value_name = "NUMBER", value_parser = int64)]
    pub pids_limit: Option<i64>,
}

/// `update`
#[derive(Debug, Default, Args)]
pub struct UpdateFlags {
    #[command(flatten)]
    pub limits: LimitFlags,
    /// When to start the container again: no, on-failure[:NUMBER], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub names: Vec<String>,
}

impl UpdateFlags {
    /// Whether there is anything to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.restart.is_none() && self.limits == LimitFlags::default()
    }
}
