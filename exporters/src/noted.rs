//! Where an exporter is, as a sink keeps it beside the rows, and what it means when it is not what
//! was written.

use headwater_storage::model::Lsn;

use crate::{ExportError, Mark};

/// A cursor as the sink has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted<V> {
    /// What was acknowledged.
    pub(crate) mark: Mark,
    /// What is safe whatever the sink's machines do.
    pub(crate) safe: Mark,
    /// The process that wrote it; empty when it let go.
    pub(crate) instance: String,
    /// Tells this writing of it from all others.
    pub(crate) version: V,
}

/// What to do after a look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is what we wrote, or found at the start.
    AsKnown,
    /// It is something else: rows may be lost too, from this record on.
    Other(Lsn),
    /// Another process writes in our name.
    Foreign,
}

impl<V: PartialEq> Noted<V> {
    /// Whether another process exports.
    pub(crate) fn is_foreign(&self, instance: &str) -> bool {
        !self.instance.is_empty() && self.instance != instance
    }

    /// Compares what is there with what we know.
    pub(crate) fn look(known: Option<&Self>, found: Option<&Self>, instance: &str) -> Seen {
        if known.is_none() || known == found {
            return Seen::AsKnown;
        }
        // At the start what is there may be another's: then we take its place.
        let is_ours = known.is_some_and(|known| known.instance == instance);
        match found {
            Some(found) if is_ours && found.is_foreign(instance) => Seen::Foreign,
            Some(found) => Seen::Other(found.safe.lsn),
            None => Seen::Other(Lsn::default()),
        }
    }
}

/// Another process exports in our name: this one does not take it back.
pub(crate) fn replaced(sink: String, exporter: &str) -> ExportError {
    ExportError::Refused {
        sink,
        reason: format!(
            "another node exports as `{exporter}`: stop one of them, or give this exporter another \
             name and place"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_was_written_is_lost_or_another_process() {
        let noted = |lsn, instance: &str, version| {
            let mark = |lsn| Mark { lsn: Lsn(lsn), generation: 0, event: String::new() };
            Noted { mark: mark(lsn), safe: mark(lsn - 5), instance: instance.to_owned(), version }
        };
        let (ours, older) = (noted(20, "me", 2), noted(15, "me", 1));
        let other = noted(25, "you", 3);
        let look = |known, found| Noted::look(known, found, "me");
        assert_eq!(look(None, Some(&other)), Seen::AsKnown);
        assert_eq!(look(Some(&ours), Some(&ours)), Seen::AsKnown);
        assert_eq!(look(Some(&ours), Some(&older)), Seen::Other(Lsn(10)), "it was lost");
        assert_eq!(look(Some(&ours), None), Seen::Other(Lsn(0)), "all was lost");
        assert_eq!(look(Some(&ours), Some(&other)), Seen::Foreign);
        assert_eq!(look(Some(&other), Some(&other)), Seen::AsKnown, "its place is taken");
        let moved = noted(30, "you", 4);
        assert_eq!(look(Some(&other), Some(&moved)), Seen::Other(Lsn(25)), "it still writes");
    }
}
