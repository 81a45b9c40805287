//! One process of a container in the form of the runtime specification.

use std::path::PathBuf;

use oci_spec::runtime::{
    BoxBuilder, LinuxCapabilities, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process,
    UserBuilder,
};
use orlop_types::config::Ulimit;

use super::refused;
use crate::StartError;
use crate::capabilities::CapabilitySet;
use crate::plan::ProcessPlan;
use crate::user::ContainerUser;

/// Docker's search path.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a process gets from its container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessContext<'a> {
    pub(crate) user: &'a ContainerUser,
    pub(crate) hostname: &'a str,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) no_new_privileges: bool,
    pub(crate) limits: &'a [Ulimit],
    /// What a limit may be raised to where this host withholds CAP_SYS_RESOURCE.
    pub(crate) highest_limit: Option<fn(&str) -> Option<u64>>,
}

/// Makes the process.
pub(crate) fn process(
    plan: &ProcessPlan,
    context: &ProcessContext<'_>,
) -> Result<Process, StartError> {
    if plan.args.is_empty() {
        return Err(refused("no command specified"));
    }
    let user = UserBuilder::default()
        .uid(context.user.uid)
        .gid(context.user.gid)
        .additional_gids(context.user.groups.clone())
        .build()
        .map_err(refused)?;
    let cwd = if plan.cwd.is_empty() { "/" } else { &plan.cwd };
    let mut process = Process::default();
    process
        .set_terminal(Some(plan.tty))
        .set_user(user)
        .set_args(Some(plan.args.clone()))
        .set_env(Some(environment(plan, context)))
        .set_cwd(PathBuf::from(cwd))
        .set_capabilities(Some(capabilities(context)))
        // Unset, not false: the linked-in runtime takes `false` for "filter late", which then fails.
        .set_no_new_privileges(context.no_new_privileges.then_some(true))
        .set_rlimits(Some(limits(context)?).filter(|limits| !limits.is_empty()));
    let (height, width) = plan.console_size;
    if plan.tty && (height, width) != (0, 0) {
        process.set_console_size(Some(
            BoxBuilder::default().height(height).width(width).build().map_err(refused)?,
        ));
    }
    Ok(process)
}

/// Docker's defaults, replaced or followed by what the plan names; a name without `=` takes one away.
fn environment(plan: &ProcessPlan, context: &ProcessContext<'_>) -> Vec<String> {
    let mut environment =
        vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={}", context.hostname)];
    if plan.tty {
        environment.push("TERM=xterm".to_owned());
    }
    let name_of = |entry: &str| entry.split('=').next().unwrap_or("").to_owned();
    for entry in &plan.env {
        let name = name_of(entry);
        let known = environment.iter().position(|existing| name_of(existing) == name);
        match (known, entry.contains('=')) {
            (Some(index), true) => environment[index].clone_from(entry),
            (Some(index), false) => {
                environment.remove(index);
            }
            (None, true) => environment.push(entry.clone()),
            (None, false) => {}
        }
    }
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.push(format!("HOME={}", context.user.home));
    }
    environment
}

/// Root gets them all at once; for others they only bound what set-user-id programs give (`execve`
/// would take them away anyway). Nothing is inheritable (CVE-2022-24769).
fn capabilities(context: &ProcessContext<'_>) -> LinuxCapabilities {
    let all = context.capabilities.to_oci();
    let own = if context.user.uid == 0 { all.clone() } else { CapabilitySet::default().to_oci() };
    let none = CapabilitySet::default().to_oci();
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(all))
        .set_effective(Some(own.clone()))
        .set_permitted(Some(own))
        .set_inheritable(Some(none.clone()))
        .set_ambient(Some(none));
    capabilities
}

fn limits(context: &ProcessContext<'_>) -> Result<Vec<PosixRlimit>, StartError> {
    context
        .limits
        .iter()
        .map(|limit| {
            let kind = limit_type(&limit.name)
                .ok_or_else(|| refused(format!("invalid ulimit type: {}", limit.name)))?;
            // −1 is "unlimited", which the kernel writes as the highest number.
            let (mut soft, mut hard) = (limit.soft.cast_unsigned(), limit.hard.cast_unsigned());
            if let Some(most) = context.highest_limit.and_then(|highest| highest(&limit.name))
                && hard > most
            {
                tracing::debug!(limit = limit.name, most, "this host lets a limit be no higher");
                (soft, hard) = (soft.min(most), most);
            }
            PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().map_err(refused)
        })
        .collect()
}

fn limit_type(name: &str) -> Option<PosixRlimitType> {
    Some(match name {
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => return None,
    })
}
