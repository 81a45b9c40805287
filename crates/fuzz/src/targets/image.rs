//! What archives say of their images.

use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;

use orlop_types::image::ImageConfig;
use orlop_types::reference::ImageReference;

/// Reads an image's configuration; what is written of it reads back as the same.
pub(super) fn config(input: &[u8]) {
    let Ok(config) = serde_json::from_slice::<ImageConfig>(input) else { return };
    let written = serde_json::to_vec(&config).expect("it is plain data");
    let again: ImageConfig = serde_json::from_slice(&written).expect("it was just written");
    assert_eq!(config, again);
}

/// Reads the descriptions in an archive of images. The input is its members: a line with a name,
/// then the content up to a NUL. References are read, too.
pub(super) fn archive(input: &[u8]) {
    let mut tar = orlop_testkit::tar::Tar::new();
    for part in input.split(|byte| *byte == 0) {
        let line_end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
        let (name, content) = part.split_at(line_end);
        let name = String::from_utf8_lossy(name);
        if name.len() > 100 {
            continue;
        }
        if let Ok(reference) = name.parse::<ImageReference>() {
            let again: Result<ImageReference, _> = reference.canonical().parse();
            assert_eq!(again.as_ref(), Ok(&reference), "{name:?}");
        }
        tar = tar.file(&name, content.get(1..).unwrap_or_default());
    }
    let Ok(file) = memory_file(&tar.finish()) else { return };
    // Most inputs are refused, which is as good.
    let _ = orlop_image::archived_images(file);
}

fn memory_file(bytes: &[u8]) -> std::io::Result<std::fs::File> {
    let fd: OwnedFd = rustix::fs::memfd_create("orlop-fuzz", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
