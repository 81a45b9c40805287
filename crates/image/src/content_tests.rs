//! Blobs: written, read, shared, forgotten.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use orlop_archive::digest;
use orlop_archive::pack::Packing;
use orlop_meta::{Durability, ImageManifest};
use orlop_types::Digest;

use crate::tests::{Fixture, tar};
use crate::{Error, ImportOptions, LayerForm, RemoveOptions};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

fn files(fixture: &Fixture) -> usize {
    fixture.directory.path().join("root/content/sha256").read_dir().map_or(0, Iterator::count)
}

#[test]
fn a_blob_is_read_as_it_was_written_and_goes_with_its_image() {
    let fixture = Fixture::new();
    let images = fixture.images();
    let content = images.content();
    let options = ImportOptions { reference: Some("db".to_owned()), ..ImportOptions::default() };
    let image =
        images.import(&*tar(fixture.directory.path(), "content"), &options, |_| {}).unwrap();
    let blob = content.put(TYPE, b"{}").unwrap();
    fixture
        .store
        .write::<_, Error>(Durability::Durable, |query| {
            blob.insert(query)?;
            let manifest = ImageManifest {
                image: image.clone(),
                manifest: blob.digest().clone(),
                index: None,
            };
            Ok(query.image_manifest_put(&manifest, "2026-01-01T00:00:00Z")?)
        })
        .unwrap();
    let digest = blob.digest().clone();
    drop(blob);
    assert_eq!(digest, digest::of_bytes(b"{}"));
    assert_eq!(content.read(&digest, 2).unwrap(), b"{}");
    assert!(matches!(content.read(&digest, 1), Err(Error::LongBlob { limit_bytes: 1, .. })));
    assert_eq!(content.remove_unneeded().unwrap(), (0, 0));
    assert_eq!(content.sweep().unwrap(), 0);
    images.remove("db", RemoveOptions::default()).unwrap();
    assert!(matches!(content.open(&digest), Err(Error::NoBlob(gone)) if gone == digest));
    assert_eq!(files(&fixture), 0);
}

#[test]
fn a_blob_without_a_row_goes_with_the_next_sweep_and_not_before_its_writer() {
    let fixture = Fixture::new();
    let content_images = fixture.images();
    let content = content_images.content();
    let blob = content.put(TYPE, b"nobody").unwrap();
    assert_eq!(content.sweep().unwrap(), 0, "its writer may still give it a row");
    assert_eq!(files(&fixture), 1);
    drop(blob);
    assert_eq!(content.sweep().unwrap(), 1);
    assert_eq!(files(&fixture), 0);
}

#[test]
fn a_blob_of_another_digest_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    let images = fixture.images();
    let mut writer = images.content().write().unwrap();
    writer.write_all(b"one").unwrap();
    let other = digest::of_bytes(b"other");
    let error = writer.finish(TYPE, Some(&other)).unwrap_err();
    assert!(matches!(error, Error::OtherDigest { expected, .. } if expected == other));
    assert_eq!(files(&fixture), 0);
    assert_eq!(fixture.store.paths.staging().read_dir().unwrap().count(), 0);
}

#[test]
fn a_damaged_blob_is_noticed_by_whoever_reads_it() {
    let fixture = Fixture::new();
    let images = fixture.images();
    let content = images.content();
    let keep = |bytes: &[u8]| -> Digest {
        let blob = content.put(TYPE, bytes).unwrap();
        fixture.store.write::<_, Error>(Durability::Durable, |query| blob.insert(query)).unwrap();
        blob.digest().clone()
    };
    let changed = keep(b"changed");
    let path = fixture.store.paths.content(&changed);
    std::fs::File::options().write(true).open(&path).unwrap().write_at(b"C", 0).unwrap();
    let mut bytes = Vec::new();
    let error = content.open(&changed).unwrap().read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let text = content.read(&changed, 100).unwrap_err().to_string();
    assert_eq!(
        text,
        format!(
            "blob `{changed}` is damaged on the disk; `orlop system check --repair` removes it"
        )
    );
    let short = keep(b"short");
    std::fs::write(fixture.store.paths.content(&short), "shor").unwrap();
    assert!(matches!(content.open(&short), Err(Error::DamagedBlob(_))));
    let gone = keep(b"gone");
    std::fs::remove_file(fixture.store.paths.content(&gone)).unwrap();
    assert!(matches!(content.open(&gone), Err(Error::DamagedBlob(_))));
    content.forget_damaged(&changed).unwrap();
    assert!(matches!(content.open(&changed), Err(Error::NoBlob(_))));
}

#[test]
fn a_layer_is_packed_once_for_each_compression_and_goes_with_its_layer() {
    let fixture = Fixture::new();
    let images = fixture.images();
    let options = ImportOptions { reference: Some("db".to_owned()), ..ImportOptions::default() };
    let source = tar(fixture.directory.path(), "content");
    images.import(&*source, &options, |_| {}).unwrap();
    let layer = fixture.store.read::<_, Error>(|query| Ok(query.layers()?)).unwrap().pop().unwrap();
    let pack = |form| {
        images
            .content()
            .packed_layer(&fixture.layers, &layer.chain_id, &layer.diff_id, form, &|_| {})
            .unwrap()
    };
    let gzip = pack(LayerForm::Any(Packing::GZIP));
    assert_eq!(gzip.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(gzip.tar_bytes, source.len() as u64);
    let zstd = pack(LayerForm::Exactly(Packing::ZSTD));
    assert_eq!(zstd.media_type, "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(pack(LayerForm::Any(Packing::ZSTD)), gzip, "the oldest will do");
    assert_eq!(pack(LayerForm::Exactly(Packing::ZSTD)), zstd);
    assert_eq!(files(&fixture), 2);
    let mut packed = images.content().open(&gzip.digest).unwrap();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&mut packed).read_to_end(&mut unpacked).unwrap();
    assert_eq!(digest::of_bytes(&unpacked), *layer.diff_id.digest());
    images.remove("db", RemoveOptions::default()).unwrap();
    assert_eq!(files(&fixture), 0);
    assert_eq!(fixture.store.read::<_, Error>(|query| Ok(query.contents()?)).unwrap(), []);
}
