//! `RUN --mount`: from the grammar's fields to what a step mounts.

use orlop_dockerfile::{Mount, MountType, Run, Sharing as Written};

use super::Frontend;
use super::dispatch::Where;
use super::stage::{Stage, joined};
use crate::step::{Input, RunMount, RunMountKind, Sharing};
use crate::{Error, Result};

/// Where secrets are unless the mount says otherwise.
const SECRETS: &str = "/run/secrets";

impl Frontend<'_> {
    pub(super) fn mounts(
        &self,
        stage: &Stage,
        place: &Where<'_>,
        run: &Run,
    ) -> Result<Vec<RunMount>> {
        let mut mounts = Vec::new();
        let mut agents = 0;
        for (at, mount) in run.mounts.iter().enumerate() {
            let source = place.planned.sources.get(at).copied().flatten();
            let from = match (mount.from.is_empty(), source) {
                (false, Some(source)) => Some(self.input(place.states, source)?),
                _ => None,
            };
            mounts.push(match mount.kind {
                MountType::Secret => secret(stage, mount),
                MountType::Ssh => {
                    let target = if mount.target.is_empty() {
                        agents += 1;
                        format!("/run/buildkit/ssh_agent.{}", agents - 1)
                    } else {
                        joined(&stage.cwd, &mount.target)
                    };
                    RunMount { target, kind: ssh(mount) }
                }
                MountType::Tmpfs | MountType::Bind | MountType::Cache => {
                    RunMount { target: target(stage, mount)?, kind: files(mount, from) }
                }
            });
        }
        Ok(mounts)
    }
}

fn target(stage: &Stage, mount: &Mount) -> Result<String> {
    let target = joined(&stage.cwd, &mount.target);
    if target == "/" {
        return Err(Error::invalid(format!("invalid mount target {target:?}")));
    }
    Ok(target)
}

fn files(mount: &Mount, from: Option<Input>) -> RunMountKind {
    let source = joined("/", &mount.source);
    match mount.kind {
        MountType::Tmpfs => {
            RunMountKind::Tmpfs { size_bytes: u64::try_from(mount.size_bytes).unwrap_or_default() }
        }
        MountType::Cache => RunMountKind::Cache {
            id: if mount.id.is_empty() { cleaned(&mount.target) } else { mount.id.clone() },
            sharing: match mount.sharing {
                Some(Written::Private) => Sharing::Private,
                Some(Written::Locked) => Sharing::Locked,
                Some(Written::Shared) | None => Sharing::Shared,
            },
            from: from.map(|from| (from, source)),
            mode: mount.mode.unwrap_or(0o755),
            uid: mount.uid.unwrap_or_default(),
            gid: mount.gid.unwrap_or_default(),
            read_only: mount.read_only,
        },
        _ => RunMountKind::Bind {
            from: from.unwrap_or_else(|| Input::Context(String::new())),
            source,
            writable: !mount.read_only,
        },
    }
}

/// A path without `.` and double slashes, absolute or not.
fn cleaned(path: &str) -> String {
    if path.starts_with('/') {
        return joined("/", path);
    }
    let cleaned = joined("/", path);
    let relative = cleaned.trim_start_matches('/');
    if relative.is_empty() { ".".to_owned() } else { relative.to_owned() }
}

fn secret(stage: &Stage, mount: &Mount) -> RunMount {
    let base =
        |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned();
    let id = if !mount.source.is_empty() {
        mount.source.clone()
    } else if !mount.id.is_empty() {
        mount.id.clone()
    } else {
        base(&mount.target)
    };
    let target = match (&mount.env, mount.target.as_str()) {
        (Some(_), "") => String::new(),
        (None, "") => format!("{SECRETS}/{}", base(&id)),
        (_, target) => joined(&stage.cwd, target),
    };
    let kind = RunMountKind::Secret {
        id,
        env: mount.env.clone().unwrap_or_default(),
        required: mount.required,
        mode: mount.mode.unwrap_or(0o400),
        uid: mount.uid.unwrap_or_default(),
        gid: mount.gid.unwrap_or_default(),
    };
    RunMount { target, kind }
}

fn ssh(mount: &Mount) -> RunMountKind {
    RunMountKind::Ssh {
        id: if mount.id.is_empty() { "default".to_owned() } else { mount.id.clone() },
        required: mount.required,
        mode: mount.mode.unwrap_or(0o600),
        uid: mount.uid.unwrap_or_default(),
        gid: mount.gid.unwrap_or_default(),
    }
}
