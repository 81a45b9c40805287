//! Who asked for a mount, and which instruction made a layer.

use std::path::Path;

use orlop_image::Images;
use orlop_meta::ContainerRecord;
use orlop_types::mount::{VolumesFrom, clean_path};

use super::document::{LayerLine, MountLine};
use crate::Containers;
use crate::lookup::find;
use crate::mount_plan::{MountEntry, Origin};
use crate::plan::entries;

impl Containers<'_> {
    /// Who asked for a mount, as the user wrote it.
    pub(super) fn reason(&self, container: &ContainerRecord, entry: &MountEntry) -> String {
        let host_config = &container.host_config;
        match entry.origin {
            Origin::TmpfsFlag => {
                let given = host_config.tmpfs.iter().flatten();
                let options = given
                    .filter(|(target, _)| clean_path(target) == entry.target)
                    .map(|(_, options)| options.as_str())
                    .find(|options| !options.is_empty());
                match options {
                    Some(options) => format!("--tmpfs {}:{options}", entry.target),
                    None => format!("--tmpfs {}", entry.target),
                }
            }
            Origin::Anonymous if self.image_declares(container, &entry.target) => {
                "VOLUME of the image".to_owned()
            }
            Origin::Anonymous => format!("-v {}", entry.target),
            Origin::OtherContainer => self.inherited_from(container, entry),
            Origin::User => {
                let is_it = |raw: &&String| {
                    raw.split(':').nth(1).map(clean_path).as_ref() == Some(&entry.target)
                };
                match host_config.binds.iter().flatten().find(is_it) {
                    Some(raw) => format!("-v {raw}"),
                    None => "--mount".to_owned(),
                }
            }
        }
    }

    fn image_declares(&self, container: &ContainerRecord, target: &str) -> bool {
        let images = Images::new(self.store, self.layers);
        let config = images
            .resolve(container.image_id.as_str())
            .and_then(|image| images.config(&image))
            .map(|config| config.config.volumes.unwrap_or_default());
        // Without the image nobody can tell; most such volumes are an image's.
        config.map_or(true, |volumes| volumes.keys().any(|path| clean_path(path) == target))
    }

    /// The last of several wins, as in the mount plan.
    fn inherited_from(&self, container: &ContainerRecord, entry: &MountEntry) -> String {
        let raws = container.host_config.volumes_from.iter().flatten().rev();
        for raw in raws {
            let Ok(from) = VolumesFrom::parse(raw) else { continue };
            let Ok(other) = self.store.read(|query| find(query, &from.container)) else { continue };
            let has = entries(&other)
                .is_ok_and(|list| list.iter().any(|theirs| theirs.target == entry.target));
            if has {
                return format!("--volumes-from {raw}");
            }
        }
        "--volumes-from a container that is gone".to_owned()
    }

    /// The instructions that made an image's layers, lowest first; nothing if the image is gone.
    pub(super) fn history(&self, container: &ContainerRecord) -> Vec<String> {
        let images = Images::new(self.store, self.layers);
        let config =
            images.resolve(container.image_id.as_str()).and_then(|image| images.config(&image));
        let Ok(config) = config else { return Vec::new() };
        let steps = config.history.into_iter().filter(|step| !step.empty_layer);
        steps
            .map(|step| match step.created_by.is_empty() {
                true => step.comment,
                false => instruction(&step.created_by),
            })
            .collect()
    }
}

/// Docker's classic builder wraps what a Dockerfile said into a shell's comment.
fn instruction(created_by: &str) -> String {
    let words: Vec<&str> = created_by.split_whitespace().collect();
    let plain = words.join(" ");
    plain.strip_prefix("/bin/sh -c #(nop) ").map_or(plain.clone(), str::to_owned)
}

/// The line of a file that the engine writes for a container.
pub(super) fn engine_line(container: &ContainerRecord, path: &Path, target: &str) -> MountLine {
    MountLine {
        target: target.to_owned(),
        kind: "engine".to_owned(),
        source: path.display().to_string(),
        host_path: path.display().to_string(),
        mode: if container.host_config.readonly_rootfs { "ro" } else { "rw" }.to_owned(),
        why: "written at each start".to_owned(),
        hides: String::new(),
    }
}

/// The line of a layer that is not the image's.
pub(super) fn own_layer(kind: &str) -> LayerLine {
    let created_by = match kind {
        "writable" => "what the container wrote",
        "engine" => "mount points that the image lacks",
        _ => "",
    };
    LayerLine {
        index: None,
        kind: kind.to_owned(),
        digest: String::new(),
        size_bytes: None,
        created_by: created_by.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_shown_as_they_were_written() {
        assert_eq!(instruction("/bin/sh -c #(nop) ADD file:1 in / "), "ADD file:1 in /");
        assert_eq!(instruction("RUN /bin/sh -c apt-get  update"), "RUN /bin/sh -c apt-get update");
    }
}
