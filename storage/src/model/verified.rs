//! What was proved of a block before it was let in.

use std::fmt;

/// A set of proofs; what is not in it could not be proved under the chain's rules (INV-2).
///
/// A block of which a proof *fails* is refused, so there is no "wrong" here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Verified(pub u32);

impl Verified {
    /// The header's RLP hashes to the block's hash.
    pub const HEADER: Verified = Verified(1);
    /// The parent's hash is that of the block before it in the log.
    pub const PARENT: Verified = Verified(1 << 1);
    /// The transactions hash to their hashes and to the header's root.
    pub const TRANSACTIONS: Verified = Verified(1 << 2);
    /// The receipts and logs hash to the header's root.
    pub const RECEIPTS: Verified = Verified(1 << 3);
    /// The withdrawals hash to the header's root.
    pub const WITHDRAWALS: Verified = Verified(1 << 4);

    /// Every signed transaction is signed by its sender.
    pub const SENDERS: Verified = Verified(1 << 5);
    /// The traces are there and fit: each is below the call that made it, and the outermost one of
    /// a transaction is what transaction and receipt say. What is inside is the provider's word.
    pub const TRACES: Verified = Verified(1 << 6);

    const NAMES: [(Verified, &'static str); 7] = [
        (Verified::HEADER, "header"),
        (Verified::PARENT, "parent"),
        (Verified::TRANSACTIONS, "transactions"),
        (Verified::RECEIPTS, "receipts"),
        (Verified::WITHDRAWALS, "withdrawals"),
        (Verified::SENDERS, "senders"),
        (Verified::TRACES, "traces"),
    ];

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Verified) -> Verified {
        Verified(self.0 | other.0)
    }

    /// Whether all of `other` was proved.
    pub fn has(self, other: Verified) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set that a text names, as [`fmt::Display`] writes it; unknown names are left out.
    pub fn parse(text: &str) -> Verified {
        let known = |name| Self::NAMES.into_iter().find(|(_, known)| *known == name);
        let proofs = text.split('+').filter_map(known).map(|(proof, _)| proof);
        proofs.fold(Verified::default(), Verified::with)
    }

    /// The names of the proofs, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(proof, _)| self.has(*proof)).map(|(_, name)| name)
    }
}

impl fmt::Display for Verified {
    /// `header+parent+transactions+receipts`, or `nothing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("nothing");
        }
        for (position, name) in self.names().enumerate() {
            if position > 0 {
                f.write_str("+")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
