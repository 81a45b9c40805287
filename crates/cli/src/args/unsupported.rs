//! Flags that Docker's `run` has and this engine does not have yet: known, and refused clearly.
//!
//! They are parsed (so that their values are not taken for the image) but hidden from the help.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Flags with a value.
const VALUES: &[&str] = &[
    "add-host",
    "annotation",
    "attach",
    "blkio-weight",
    "blkio-weight-device",
    "cgroup-parent",
    "cgroupns",
    "cpu-count",
    "cpu-percent",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-shares",
    "cpuset-cpus",
    "cpuset-mems",
    "device",
    "device-cgroup-rule",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "dns",
    "dns-opt",
    "dns-option",
    "dns-search",
    "gpus",
    "group-add",
    "health-cmd",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
    "io-maxbandwidth",
    "io-maxiops",
    "ip",
    "ip6",
    "ipc",
    "isolation",
    "kernel-memory",
    "link",
    "link-local-ip",
    "log-driver",
    "log-opt",
    "mac-address",
    "memory-reservation",
    "memory-swap",
    "memory-swappiness",
    "net-alias",
    "network-alias",
    "oom-score-adj",
    "pid",
    "platform",
    "storage-opt",
    "sysctl",
    "ulimit",
    "userns",
    "uts",
];

/// Flags without a value.
const SWITCHES: &[&str] = &["disable-content-trust", "init", "oom-kill-disable", "use-api-socket"];

/// Refuses every flag of the lists above.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsupported;

impl Args for Unsupported {
    fn augment_args(command: Command) -> Command {
        let values = VALUES.iter().map(|&name| {
            let flag = Arg::new(name).long(name).num_args(1).allow_hyphen_values(true).hide(true);
            let flag = flag.action(ArgAction::Append);
            match name {
                "attach" => flag.short('a'),
                "cpu-shares" => flag.short('c'),
                _ => flag,
            }
        });
        let switches = SWITCHES
            .iter()
            .map(|&name| Arg::new(name).long(name).action(ArgAction::SetTrue).hide(true));
        command.args(values).args(switches)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Unsupported {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &&&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        match VALUES.iter().chain(SWITCHES).find(given) {
            Some(name) => Err(clap::Error::raw(
                ErrorKind::InvalidValue,
                format!("flag --{name} is not supported yet"),
            )),
            None => Ok(Self),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
