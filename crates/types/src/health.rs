//! What is known of a container's health, in Docker's own JSON shape (`State.Health`).

use serde::{Deserialize, Serialize};

/// Results that are kept.
const LOG_ENTRIES: usize = 5;

/// Docker's `State.Health.Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No probe has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The last probe has succeeded, or not enough have failed since one did.
    Healthy,
    /// Too many probes in a row have failed, or nobody probes.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How one probe went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthResult {
    /// RFC 3339 time.
    pub start: String,
    /// RFC 3339 time.
    pub end: String,
    /// 0 is healthy; -1 is a probe that could not be run or took too long.
    pub exit_code: i64,
    /// What it printed, cut.
    pub output: String,
}

/// Docker's `State.Health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// What the probes came to.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: Vec<HealthResult>,
}

impl Health {
    /// Adds a result and forgets what is too old.
    pub fn log_result(&mut self, result: HealthResult) {
        self.log.push(result);
        let old = self.log.len().saturating_sub(LOG_ENTRIES);
        self.log.drain(..old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_shape_with_five_results() {
        let mut health = Health { status: HealthStatus::Unhealthy, ..Health::default() };
        for code in 0..7 {
            let time = "2026-01-02T03:04:05Z".to_owned();
            let (start, end) = (time.clone(), time);
            health.log_result(HealthResult { start, end, exit_code: code, output: "x".to_owned() });
        }
        let codes: Vec<i64> = health.log.iter().map(|result| result.exit_code).collect();
        assert_eq!(codes, [2, 3, 4, 5, 6]);
        let json = serde_json::to_value(&health).expect("plain data");
        assert_eq!(json["Status"], "unhealthy");
        assert_eq!(json["FailingStreak"], 0);
        assert_eq!(json["Log"][4]["ExitCode"], 6);
        assert_eq!(json["Log"][0]["Output"], "x");
    }
}
