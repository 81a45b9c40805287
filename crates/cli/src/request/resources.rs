//! Flags that limit what a container uses: memory, processors, block devices, numbers of things.

use std::collections::BTreeMap;

use orlop_types::ParseError;
use orlop_types::config::{HostConfig, ThrottleDevice, Ulimit, WeightDevice};
use orlop_types::size::parse_ram_bytes;

use super::{check_all, invalid_argument};
use crate::args::{LimitFlags, ResourceFlags, UpdateFlags};
use crate::failure::Failure;

/// Names of limits that `--ulimit` knows.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Puts the flags of `run` into the configuration.
pub(super) fn apply(flags: &ResourceFlags, host: &mut HostConfig) -> Result<(), Failure> {
    apply_limits(&flags.limits, host)?;
    host.pids_limit = flags.limits.pids_limit.filter(|&limit| limit > 0);
    match flags.memory_swappiness {
        None | Some(-1) => {}
        Some(value @ 0..=100) => host.memory_swappiness = Some(value),
        Some(value) => {
            return Err(Failure::new(format!(
                "invalid value: {value}. Valid memory swappiness range is 0-100"
            )));
        }
    }
    host.oom_kill_disable = Some(flags.oom_kill_disable);
    host.oom_score_adj = flags.oom_score_adj.unwrap_or_default();
    host.blkio_weight_device =
        Some(check_all(&flags.blkio_weight_device, "--blkio-weight-device", weight_device)?);
    let limits = |raws: &[String], flag: &str, rate: Rate| {
        check_all(raws, flag, |raw| throttle_device(raw, rate)).map(Some)
    };
    host.blkio_device_read_bps = limits(&flags.device_read_bps, "--device-read-bps", Rate::Bytes)?;
    host.blkio_device_write_bps =
        limits(&flags.device_write_bps, "--device-write-bps", Rate::Bytes)?;
    host.blkio_device_read_iops =
        limits(&flags.device_read_iops, "--device-read-iops", Rate::Operations)?;
    host.blkio_device_write_iops =
        limits(&flags.device_write_iops, "--device-write-iops", Rate::Operations)?;
    // A limit that is given twice counts as the last one says.
    let ulimits: BTreeMap<String, Ulimit> = check_all(&flags.ulimit, "--ulimit", ulimit)?
        .into_iter()
        .map(|limit| (limit.name.clone(), limit))
        .collect();
    host.ulimits = Some(ulimits.into_values().collect());
    host.cgroup_parent = flags.cgroup_parent.clone().unwrap_or_default();
    host.runtime = flags.runtime.clone().unwrap_or_default();
    Ok(())
}

/// Puts the flags of `update` into a configuration that says nothing else.
pub(super) fn apply_update(flags: &UpdateFlags, host: &mut HostConfig) -> Result<(), Failure> {
    apply_limits(&flags.limits, host)?;
    // Zero is as good as nothing; what takes a limit away is below zero.
    host.pids_limit = flags.limits.pids_limit.filter(|&limit| limit != 0);
    Ok(())
}

/// What `run` and `update` read in the same way.
fn apply_limits(flags: &LimitFlags, host: &mut HostConfig) -> Result<(), Failure> {
    host.memory = bytes(flags.memory.as_deref(), "-m, --memory")?;
    host.memory_reservation = bytes(flags.memory_reservation.as_deref(), "--memory-reservation")?;
    host.memory_swap = swap_bytes(flags.memory_swap.as_deref())?;
    // No kernel has this limit any more; the value is still checked.
    bytes(flags.kernel_memory.as_deref(), "--kernel-memory")?;
    host.nano_cpus = cpus(flags.cpus.as_deref())?;
    host.cpu_shares = flags.cpu_shares.unwrap_or_default();
    host.cpu_period = flags.cpu_period.unwrap_or_default();
    host.cpu_quota = flags.cpu_quota.unwrap_or_default();
    host.cpu_realtime_period = flags.cpu_rt_period.unwrap_or_default();
    host.cpu_realtime_runtime = flags.cpu_rt_runtime.unwrap_or_default();
    host.cpuset_cpus = flags.cpuset_cpus.clone().unwrap_or_default();
    host.cpuset_mems = flags.cpuset_mems.clone().unwrap_or_default();
    host.blkio_weight = flags.blkio_weight.unwrap_or_default();
    Ok(())
}

fn bytes(raw: Option<&str>, flag: &str) -> Result<i64, Failure> {
    raw.map_or(Ok(0), |raw| parse_ram_bytes(raw).map_err(invalid_argument(raw, flag)))
}

fn swap_bytes(raw: Option<&str>) -> Result<i64, Failure> {
    if raw == Some("-1") { Ok(-1) } else { bytes(raw, "--memory-swap") }
}

fn cpus(raw: Option<&str>) -> Result<i64, Failure> {
    raw.map_or(Ok(0), |raw| parse_cpus(raw).map_err(invalid_argument(raw, "--cpus")))
}

/// A number of processors in billionths: `1.5`, `1e-1`, `3/2`.
pub(super) fn parse_cpus(raw: &str) -> Result<i64, ParseError> {
    let wrong = || ParseError::new(format!("failed to parse {raw} as a rational number"));
    let (sign, text) = match raw.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, raw.strip_prefix('+').unwrap_or(raw)),
    };
    let (numerator, denominator) = match text.split_once('/') {
        Some((above, below)) => {
            let digits =
                |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty();
            if !digits(above) || !digits(below) {
                return Err(wrong());
            }
            let parse = |part: &str| part.parse::<i128>().map_err(|_| wrong());
            (parse(above)?, parse(below)?)
        }
        None => decimal(text).ok_or_else(wrong)?,
    };
    if denominator == 0 {
        return Err(wrong());
    }
    let scaled = numerator.checked_mul(1_000_000_000).ok_or_else(wrong)?;
    if scaled % denominator != 0 {
        return Err(ParseError::new("value is too precise"));
    }
    i64::try_from(sign * (scaled / denominator)).map_err(|_| wrong())
}

/// A decimal number, perhaps with an exponent, as a fraction.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let number: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let places = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_i128.checked_pow(places.unsigned_abs())?;
    Some(if places < 0 { (number, power) } else { (number.checked_mul(power)?, 1) })
}

/// Docker's first checks of `DEVICE:VALUE`.
fn device_and_value(raw: &str) -> Result<(&str, &str), ParseError> {
    let pair = raw.split_once(':').filter(|(device, _)| !device.is_empty());
    let (device, value) = pair.ok_or_else(|| ParseError::new(format!("bad format: {raw}")))?;
    if !device.starts_with("/dev/") {
        return Err(ParseError::new(format!("bad format for device path: {raw}")));
    }
    Ok((device, value))
}

fn weight_device(raw: &str) -> Result<WeightDevice, ParseError> {
    let (device, weight) = device_and_value(raw)?;
    let weight = weight.parse::<u16>().ok().filter(|weight| matches!(weight, 0 | 10..=1000));
    let weight =
        weight.ok_or_else(|| ParseError::new(format!("invalid weight for device: {raw}")))?;
    Ok(WeightDevice { path: device.to_owned(), weight })
}

/// What a limit of a device counts.
#[derive(Clone, Copy)]
enum Rate {
    Bytes,
    Operations,
}

fn throttle_device(raw: &str, counted: Rate) -> Result<ThrottleDevice, ParseError> {
    let (device, rate) = device_and_value(raw)?;
    let (rate, form) = match counted {
        Rate::Bytes => (
            parse_ram_bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok()),
            "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, \
             or gb",
        ),
        Rate::Operations => {
            (rate.parse().ok(), "<device-path>:<number>. Number must be a positive integer")
        }
    };
    let rate = rate.ok_or_else(|| {
        ParseError::new(format!("invalid rate for device: {raw}. The correct format is {form}"))
    })?;
    Ok(ThrottleDevice { path: device.to_owned(), rate })
}

/// Reads a `--ulimit`.
pub fn ulimit(raw: &str) -> Result<Ulimit, ParseError> {
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| {
            ParseError::new(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
        })
    };
    let (name, values) = raw
        .split_once('=')
        .ok_or_else(|| ParseError::new(format!("invalid ulimit argument: {raw}")))?;
    if !ULIMITS.contains(&name) {
        return Err(ParseError::new(format!("invalid ulimit type: {name}")));
    }
    let parts: Vec<&str> = values.split(':').collect();
    let (soft, hard) = match parts.as_slice() {
        [both] => (number(both)?, number(both)?),
        [soft, hard] => {
            let hard = number(hard)?;
            (number(soft)?, hard)
        }
        _ => {
            return Err(ParseError::new(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            )));
        }
    };
    let above = "ulimit soft limit must be less than or equal to hard limit";
    if hard != -1 && soft == -1 {
        return Err(ParseError::new(format!("{above}: soft: -1 (unlimited), hard: {hard}")));
    }
    if hard != -1 && soft > hard {
        return Err(ParseError::new(format!("{above}: {soft} > {hard}")));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}
