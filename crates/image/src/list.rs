//! Lists of images.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use orlop_meta::{ImageRecord, TagRecord};
use orlop_types::ImageId;
use orlop_types::duration::parse_moment;
use orlop_types::filter::Filters;
use orlop_types::image::ImageConfig;
use orlop_types::reference::ImageReference;

use crate::describe::created_at;
use crate::images::{config, familiar, resolve};
use crate::{Error, Images, Result, glob};

/// One image as lists show it, in Docker's JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Id.
    pub id: ImageId,
    /// The image it was built on; empty here.
    pub parent_id: String,
    /// Names with tags, as people write them; empty for a dangling image.
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    /// Bytes of its layers.
    pub size: u64,
    /// Bytes shared with other images; −1 is not computed.
    pub shared_size: i64,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Containers made from it, running or not.
    pub containers: usize,
}

const FILTERS: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// Filters with what they refer to looked up.
struct Wanted<'a> {
    filters: &'a Filters,
    dangling: Option<bool>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Images<'_> {
    /// Images that pass the filters, newest first: `dangling`, `label`, `label!`, `reference`
    /// (patterns), `before` and `since` (images), `until` (a time).
    pub fn list(&self, filters: &Filters) -> Result<Vec<ImageSummary>> {
        filters.check_names(&FILTERS)?;
        let wanted = self.wanted(filters)?;
        let (images, tags, containers) = self
            .store
            .read(|query| Ok::<_, Error>((query.images()?, query.tags()?, query.containers()?)))?;
        let mut names: HashMap<ImageId, Vec<TagRecord>> = HashMap::new();
        for tag in tags {
            names.entry(tag.image.clone()).or_default().push(tag);
        }
        let mut users: HashMap<ImageId, usize> = HashMap::new();
        for container in containers.into_iter().filter_map(|container| container.image) {
            *users.entry(container).or_default() += 1;
        }
        let mut summaries = Vec::new();
        for image in images {
            let tags = names.remove(&image.id).unwrap_or_default();
            let containers = users.get(&image.id).copied().unwrap_or(0);
            summaries.extend(wanted.summary(&image, tags, containers)?);
        }
        summaries
            .sort_by(|(one, first), (other, second)| second.cmp(first).then(one.id.cmp(&other.id)));
        Ok(summaries.into_iter().map(|(summary, _)| summary).collect())
    }

    fn wanted<'f>(&self, filters: &'f Filters) -> Result<Wanted<'f>> {
        let mut times: [Vec<Timestamp>; 2] = [Vec::new(), Vec::new()];
        for (filter, times) in ["before", "since"].into_iter().zip(&mut times) {
            for name in filters.values(filter) {
                let image = self.store.read(|query| resolve(query, name))?;
                times.push(created_at(&image, &config(&image)?));
            }
        }
        let [before, since] = times;
        Ok(Wanted {
            filters,
            dangling: filters.boolean("dangling")?,
            before: before.into_iter().min(),
            since: since.into_iter().max(),
            until: until(filters)?,
        })
    }
}

/// The earliest of the `until` times.
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>> {
    let now = Timestamp::now();
    let parse = |text: &str| {
        let wrong = |_| {
            let text = format!("failed to parse value as time or duration: {text:?}");
            orlop_types::ParseError::new(text)
        };
        parse_moment(text, now, &TimeZone::system()).map_err(wrong)
    };
    let times: Vec<Timestamp> = filters.values("until").map(parse).collect::<Result<_, _>>()?;
    Ok(times.into_iter().min())
}

/// Whether labels pass the filters.
pub(crate) fn labels_pass(filters: &Filters, config: &ImageConfig) -> bool {
    filters.matches_labels(config.config.labels.as_ref().unwrap_or(&BTreeMap::new()))
}

impl Wanted<'_> {
    fn summary(
        &self,
        image: &ImageRecord,
        mut tags: Vec<TagRecord>,
        containers: usize,
    ) -> Result<Option<(ImageSummary, Timestamp)>> {
        let config = config(image)?;
        let created = created_at(image, &config);
        let passes = labels_pass(self.filters, &config)
            && self.before.is_none_or(|time| created < time)
            && self.since.is_none_or(|time| created > time)
            && self.until.is_none_or(|time| created < time)
            && self.dangling.is_none_or(|dangling| dangling == tags.is_empty());
        if !passes {
            return Ok(None);
        }
        if self.filters.contains("reference") {
            tags.retain(|tag| self.names(tag));
            if tags.is_empty() {
                return Ok(None);
            }
        }
        let (repo_tags, repo_digests) = familiar(&tags)?;
        let summary = ImageSummary {
            id: image.id.clone(),
            parent_id: String::new(),
            repo_tags,
            repo_digests,
            created: created.as_second(),
            size: image.size_bytes,
            shared_size: -1,
            labels: config.config.labels,
            containers,
        };
        Ok(Some((summary, created)))
    }

    fn names(&self, tag: &TagRecord) -> bool {
        let Ok(reference) = tag.reference.parse::<ImageReference>() else { return false };
        let forms = [
            reference.familiar(),
            reference.familiar_name(),
            reference.canonical(),
            reference.canonical_name(),
        ];
        self.filters
            .values("reference")
            .any(|pattern| forms.iter().any(|form| glob::matches(pattern, form)))
    }
}
