//! Which chains keep which rules: the one table of exceptions, by chain id and block.
//!
//! A chain that is *closed* is known whole: what does not come out by its rules is wrong, whatever
//! an answer says of itself. Of any other chain is found out when it is first seen which proofs
//! come out ([`super::Prover`]).

use headwater_storage::model::Header;

use super::Aspect;

/// Transaction types: EIP-2718, and what rollups and side chains added.
pub(super) mod kind {
    /// EIP-7702, the highest type of Ethereum.
    pub(in super::super) const ETHEREUM_MAX: u64 = 4;
    /// Arbitrum: a message from the parent chain, 0x64 to 0x69, and the start of a block, 0x6a.
    pub(in super::super) const ARBITRUM_DEPOSIT: u64 = 0x64;
    pub(in super::super) const ARBITRUM_UNSIGNED: u64 = 0x65;
    pub(in super::super) const ARBITRUM_CONTRACT: u64 = 0x66;
    pub(in super::super) const ARBITRUM_RETRY: u64 = 0x68;
    pub(in super::super) const ARBITRUM_SUBMIT_RETRYABLE: u64 = 0x69;
    pub(in super::super) const ARBITRUM_INTERNAL: u64 = 0x6a;
    /// Celo: fees in a token (CIP-64).
    pub(in super::super) const CELO_FEE_CURRENCY: u64 = 0x7b;
    /// OP stack: a deposit. Scroll: a message from the parent chain.
    pub(in super::super) const DEPOSIT: u64 = 0x7e;
    /// Polygon: state sync since PIP-74.
    pub(in super::super) const STATE_SYNC: u64 = 0x7f;
}

/// One chain that is known whole.
struct Closed {
    id: u64,
    /// Types of transactions beside Ethereum's.
    types: &'static [u64],
}

const ARBITRUM: &[u64] = &[
    kind::ARBITRUM_DEPOSIT,
    kind::ARBITRUM_UNSIGNED,
    kind::ARBITRUM_CONTRACT,
    kind::ARBITRUM_RETRY,
    kind::ARBITRUM_SUBMIT_RETRYABLE,
    kind::ARBITRUM_INTERNAL,
];

/// Chains that are known whole.
const CLOSED: [Closed; 13] = [
    // Ethereum and its test networks.
    Closed { id: 1, types: &[] },
    Closed { id: 5, types: &[] },
    Closed { id: 17_000, types: &[] },
    Closed { id: 560_048, types: &[] },
    Closed { id: 11_155_111, types: &[] },
    // BNB Smart Chain, and its test network: headers and receipts as in Ethereum.
    Closed { id: 56, types: &[] },
    Closed { id: 97, types: &[] },
    // Polygon, Amoy, Mumbai.
    Closed { id: 137, types: &[kind::STATE_SYNC] },
    Closed { id: 80_002, types: &[kind::STATE_SYNC] },
    Closed { id: 80_001, types: &[] },
    // Base.
    Closed { id: 8_453, types: &[kind::DEPOSIT] },
    // Arbitrum One and Nova.
    Closed { id: 42_161, types: ARBITRUM },
    Closed { id: 42_170, types: ARBITRUM },
];

/// What of a chain's blocks does not come out under the rules that we know.
struct Exception {
    ids: &'static [u64],
    aspect: Aspect,
    /// Blocks below this one.
    below: u64,
}

const EVERY_BLOCK: u64 = u64::MAX;
/// Arbitrum One's first block of Nitro; before it headers, transactions and receipts were other
/// ones (Offchain Labs, "Nitro mainnet migration").
const NITRO: u64 = 22_207_817;
/// Celo's first block as a rollup (Celo documentation, "L2 migration").
const CELO_L2: u64 = 31_056_500;
/// Gnosis chain's first block after the merge; before it headers were sealed by `AuRa` in two
/// fields that many providers leave out (gnosischain.com, "Merge").
const GNOSIS_MERGE: u64 = 25_349_537;
/// EIP-609 on Ethereum, ECIP-1054 on Ethereum Classic: receipts have a status from a block on, and
/// so from a time on, seconds since 1970-01-01 UTC (for the second the end of that day).
const BYZANTIUM: [(u64, u64, u64); 2] =
    [(1, 4_370_000, 1_508_131_331), (61, 8_772_000, 1_568_332_800)];

/// Every exception that is known beforehand, each with its source above or beside it.
static EXCEPTIONS: [Exception; 15] = [
    // What the hash of such a transaction is made of is in no answer (PIP-74).
    of_type(&[137, 80_002], kind::STATE_SYNC, EVERY_BLOCK),
    Exception { ids: &[42_161], aspect: Aspect::Header, below: NITRO },
    Exception { ids: &[42_161], aspect: Aspect::Transactions, below: NITRO },
    Exception { ids: &[42_161], aspect: Aspect::Receipts, below: NITRO },
    // Messages of Arbitrum whose fields no provider gives in full.
    of_type(&[42_161, 42_170, 421_614], kind::ARBITRUM_DEPOSIT, EVERY_BLOCK),
    of_type(&[42_161, 42_170, 421_614], kind::ARBITRUM_UNSIGNED, EVERY_BLOCK),
    of_type(&[42_161, 42_170, 421_614], kind::ARBITRUM_CONTRACT, EVERY_BLOCK),
    of_type(&[42_161, 42_170, 421_614], kind::ARBITRUM_RETRY, EVERY_BLOCK),
    of_type(&[42_161, 42_170, 421_614], kind::ARBITRUM_SUBMIT_RETRYABLE, EVERY_BLOCK),
    Exception { ids: &[42_220], aspect: Aspect::Header, below: CELO_L2 },
    Exception { ids: &[42_220], aspect: Aspect::Transactions, below: CELO_L2 },
    Exception { ids: &[42_220], aspect: Aspect::Receipts, below: CELO_L2 },
    Exception { ids: &[100], aspect: Aspect::Header, below: GNOSIS_MERGE },
    // Anvil and Hardhat: for an account that is impersonated they sign with what is no signature,
    // and take a hash of their own (`impersonated_hash`, foundry-rs/foundry).
    Exception { ids: &[31_337], aspect: Aspect::Transactions, below: EVERY_BLOCK },
    // Sealed by `AuRa` from the first block on: POA Core, Sokol, Kovan, Energy Web, Volta.
    Exception { ids: &[99, 77, 42, 246, 73_799], aspect: Aspect::Header, below: EVERY_BLOCK },
];

const fn of_type(ids: &'static [u64], kind: u64, below: u64) -> Exception {
    Exception { ids, aspect: Aspect::TransactionType(kind), below }
}

/// Polygon's state-sync transactions are in no root before PIP-74 (the Madhugiri fork,
/// 0xPolygon/bor `params/config.go`, `builder/files/genesis-amoy.json`).
const STATE_SYNC_BELOW: [(u64, u64); 3] =
    [(137, 80_084_800), (80_002, 28_899_616), (80_001, EVERY_BLOCK)];

/// Whether a block of a chain may have a transaction that is in no root.
pub(super) fn has_state_sync(chain_id: u64, number: u64) -> bool {
    STATE_SYNC_BELOW.iter().any(|(id, below)| *id == chain_id && number < *below)
}

/// Whether receipts of a block have a state root, for which some clients, that do not keep it, give
/// a status (erigontech/erigon#8159, paradigmxyz/reth#21002).
pub(super) fn is_before_byzantium(chain_id: u64, header: &Header) -> bool {
    BYZANTIUM.iter().any(|(id, number, time)| {
        *id == chain_id && header.number < *number && header.timestamp < *time
    })
}

/// Whether a chain is known whole.
pub(super) fn is_closed(chain_id: u64) -> bool {
    CLOSED.iter().any(|chain| chain.id == chain_id)
}

/// Types that are known as a chain's own, though not what their hashes are made of: zkSync's
/// 0x71, Tempo's 0x76, Arbitrum's of before Nitro 0x78, Celo's 0x7a (CIP-66) and 0x7c (CIP-42).
const KNOWN_BY_NAME: [u64; 5] = [0x71, 0x76, 0x78, 0x7a, 0x7c];
/// The highest type that EIP-2718 allows; chains that do not keep to it have types above, such as
/// zkSync's 0xfe and 0xff.
const TYPE_MAX: u64 = 0x7f;

/// Whether a type of transactions is new to this program, or may be the chain's.
pub(super) fn is_new_type(kind: u64) -> bool {
    use kind::{CELO_FEE_CURRENCY, DEPOSIT, ETHEREUM_MAX, STATE_SYNC};
    let is_known = kind <= ETHEREUM_MAX
        || ARBITRUM.contains(&kind)
        || KNOWN_BY_NAME.contains(&kind)
        || [CELO_FEE_CURRENCY, DEPOSIT, STATE_SYNC].contains(&kind);
    !is_known && kind <= TYPE_MAX
}

/// Whether a chain that is known whole has a type of transactions.
pub(super) fn has_type(chain_id: u64, kind: u64) -> bool {
    let added = CLOSED.iter().find(|chain| chain.id == chain_id).map(|chain| chain.types);
    kind <= kind::ETHEREUM_MAX || added.is_some_and(|types| types.contains(&kind))
}

/// Whether a chain may be a rollup of the OP stack.
pub(super) fn may_be_op_stack(chain_id: u64) -> bool {
    !is_closed(chain_id) || has_type(chain_id, kind::DEPOSIT)
}

/// Whether it is known beforehand that an aspect of a block does not come out.
pub(super) fn is_excepted(chain_id: u64, number: u64, aspect: &Aspect) -> bool {
    let is_about = |excepted: &Aspect| match (excepted, aspect) {
        // Where no root comes out, the hashes and leaves that go into it need not either.
        (Aspect::Transactions, Aspect::TransactionType(_))
        | (Aspect::Receipts, Aspect::ReceiptType(_)) => true,
        (excepted, aspect) => excepted == aspect,
    };
    EXCEPTIONS.iter().any(|exception| {
        let is_there = number < exception.below && exception.ids.contains(&chain_id);
        is_there && is_about(&exception.aspect)
    })
}
