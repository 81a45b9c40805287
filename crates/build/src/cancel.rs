//! A flag that ends a build from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the build shall end; cheap to copy and to ask.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    /// Those of whom this one is a part.
    above: Vec<Arc<AtomicBool>>,
}

impl Cancel {
    /// Asks every step that runs to end soon.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Whether the build shall end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.own.load(Ordering::Relaxed)
            || self.above.iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// Fails if the build shall end.
    pub fn check(&self) -> crate::Result<()> {
        if self.is_cancelled() { Err(crate::Error::Cancelled) } else { Ok(()) }
    }

    /// A flag that is set with this one, and can be set alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut above = self.above.clone();
        above.push(Arc::clone(&self.own));
        Self { own: Arc::default(), above }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_with_the_whole_and_not_the_other_way_round() {
        let whole = Cancel::default();
        let part = whole.child();
        part.cancel();
        assert!(part.is_cancelled() && !whole.is_cancelled());
        let other = whole.child().child();
        whole.cancel();
        assert!(other.is_cancelled());
    }
}
