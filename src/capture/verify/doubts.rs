//! What did not come out and is not decided yet: who gave it, and how often.
//!
//! Each is one thing of one block: blocks that are fetched side by side are doubted side by side,
//! and two providers have to give the same one.

use std::collections::BTreeMap;

use alloy_primitives::B256;

use super::Aspect;

/// How often one provider's word is asked for where no second one answers.
const WORDS_MAX: u32 = 20;
/// Doubts that are remembered.
const DOUBTS_MAX: usize = 64;

/// All doubts of a chain.
#[derive(Default)]
pub(super) struct Doubts {
    /// By what did not come out, and a digest of both sides of the comparison.
    list: BTreeMap<(Aspect, B256), Doubt>,
    raised: u64,
}

struct Doubt {
    raised: u64,
    providers: Vec<String>,
    words: u32,
}

impl Doubts {
    /// Takes a provider's word. Who said the same, once that are so many or one said it often.
    pub(super) fn add(
        &mut self,
        aspect: &Aspect,
        evidence: B256,
        provider: &str,
        needed: usize,
    ) -> Option<Vec<String>> {
        let key = (aspect.clone(), evidence);
        if self.list.len() >= DOUBTS_MAX && !self.list.contains_key(&key) {
            self.make_room();
        }
        self.raised += 1;
        let raised = self.raised;
        let new = || Doubt { raised, providers: Vec::with_capacity(2), words: 0 };
        let doubt = self.list.entry(key).or_insert_with(new);
        doubt.words += 1;
        if !doubt.providers.iter().any(|known| known == provider) {
            doubt.providers.push(provider.to_owned());
        }
        let is_enough = doubt.providers.len() >= needed || doubt.words >= WORDS_MAX;
        is_enough.then(|| doubt.providers.clone())
    }

    /// Forgets what was doubted of an aspect.
    pub(super) fn forget(&mut self, aspect: &Aspect) {
        self.list.retain(|(doubted, _), _| doubted != aspect);
    }

    /// The oldest doubt of the provider that raised most of them gives way, so that nobody drives
    /// out what others say.
    fn make_room(&mut self) {
        let by = |doubt: &Doubt| doubt.providers.first().cloned().unwrap_or_default();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for doubt in self.list.values() {
            *counts.entry(by(doubt)).or_default() += 1;
        }
        let Some((most, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return };
        let of_most = self.list.iter().filter(|(_, doubt)| by(doubt) == most);
        let oldest = of_most.min_by_key(|(_, doubt)| doubt.raised).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.list.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Aspect {
        Aspect::HeaderField(name.to_owned())
    }

    #[test]
    fn two_say_the_same_of_blocks_that_come_side_by_side() {
        let mut doubts = Doubts::default();
        let block = B256::repeat_byte;
        for at in 0..8 {
            assert_eq!(doubts.add(&Aspect::Header, block(at), "a", 2), None);
        }
        for at in 8..16 {
            assert_eq!(doubts.add(&Aspect::Header, block(at), "b", 2), None);
        }
        let said = doubts.add(&Aspect::Header, block(3), "b", 2);
        assert_eq!(said, Some(vec!["a".to_owned(), "b".to_owned()]));
        doubts.forget(&Aspect::Header);
        assert_eq!(doubts.add(&Aspect::Header, block(3), "b", 2), None);
    }

    #[test]
    fn one_that_doubts_everything_does_not_drive_out_what_another_says() {
        let mut doubts = Doubts::default();
        let evidence = B256::repeat_byte(1);
        assert_eq!(doubts.add(&field("root"), evidence, "honest", 2), None);
        for at in 0..1_000 {
            assert_eq!(doubts.add(&field(&format!("a{at}")), evidence, "flood", 2), None);
            assert!(doubts.list.len() <= DOUBTS_MAX);
        }
        assert!(doubts.add(&field("root"), evidence, "other", 2).is_some());
        // Alone, it is believed after a while.
        let often = (0..WORDS_MAX).filter_map(|_| doubts.add(&field("x"), evidence, "flood", 2));
        assert_eq!(often.count(), 1);
    }
}
