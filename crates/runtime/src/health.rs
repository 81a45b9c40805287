//! When a container's health is probed and what the results come to: Docker's rules, without I/O.

use std::time::Duration;

use orlop_types::health::HealthStatus;
use serde::{Deserialize, Serialize};

/// How a container's health is checked; every value is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPlan {
    /// Command and arguments.
    pub args: Vec<String>,
    /// Time between two probes.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Failures that long after the start do not count unless a probe has succeeded.
    pub start_period: Duration,
    /// Time between two probes in the start period.
    pub start_interval: Duration,
    /// Failures in a row that make the container unhealthy.
    pub retries: u32,
}

/// What the probes of one run have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) status: HealthStatus,
    pub(crate) failing_streak: u32,
}

impl Judgement {
    /// How long to wait for the next probe, so long after the start.
    pub(crate) fn interval(&self, plan: &HealthPlan, age: Duration) -> Duration {
        if self.status == HealthStatus::Starting && age < plan.start_period {
            plan.start_interval
        } else {
            plan.interval
        }
    }

    /// Takes the result of a probe that began so long after the start.
    pub(crate) fn judge(&mut self, plan: &HealthPlan, exit_code: i64, age: Duration) {
        if exit_code == 0 {
            *self = Self { status: HealthStatus::Healthy, failing_streak: 0 };
            return;
        }
        if self.status == HealthStatus::Starting && age < plan.start_period {
            return;
        }
        self.failing_streak += 1;
        if self.failing_streak >= plan.retries {
            self.status = HealthStatus::Unhealthy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan() -> HealthPlan {
        HealthPlan {
            args: vec!["true".to_owned()],
            interval: 30 * SECOND,
            timeout: 30 * SECOND,
            start_period: 10 * SECOND,
            start_interval: 5 * SECOND,
            retries: 2,
        }
    }

    #[test]
    fn failures_count_after_the_start_period_and_successes_at_once() {
        let plan = plan();
        let mut judgement = Judgement::default();
        let mut seen = Vec::new();
        for (code, age) in [(1, 5), (1, 9), (1, 10), (-1, 11), (0, 12), (1, 13), (1, 14), (0, 15)] {
            judgement.judge(&plan, code, age * SECOND);
            seen.push((judgement.status.as_str(), judgement.failing_streak));
        }
        let expected = [
            ("starting", 0),
            ("starting", 0),
            ("starting", 1),
            ("unhealthy", 2),
            ("healthy", 0),
            ("healthy", 1),
            ("unhealthy", 2),
            ("healthy", 0),
        ];
        assert_eq!(seen, expected);
        // Healthy once, failures count in the start period as well.
        let mut judgement = Judgement::default();
        judgement.judge(&plan, 0, SECOND);
        judgement.judge(&plan, 1, 2 * SECOND);
        assert_eq!(judgement.failing_streak, 1);
    }

    #[test]
    fn probes_are_closer_together_in_the_start_period() {
        let plan = plan();
        let mut judgement = Judgement::default();
        assert_eq!(judgement.interval(&plan, SECOND), 5 * SECOND);
        assert_eq!(judgement.interval(&plan, 10 * SECOND), 30 * SECOND);
        judgement.judge(&plan, 0, SECOND);
        assert_eq!(judgement.interval(&plan, SECOND), 30 * SECOND);
    }
}
