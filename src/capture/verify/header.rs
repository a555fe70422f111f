//! A header's hash, by the rules of every Ethereum fork and of chains that have their own.

use alloy::rlp::Encodable;
use alloy_primitives::{B256, Bytes};
use headwater_storage::model::Header;

use super::{extra, hash_of_list};

/// Fields that providers put beside the header's own, and that no header's hash covers.
const BESIDE: [&str; 12] = [
    "author",
    "sealFields",
    "signature",
    "step",
    "auraStep",
    "auraSeal",
    "milliTimestamp",
    "l1BlockNumber",
    "sendCount",
    "sendRoot",
    "extDataHash",
    "blockExtraData",
];

/// Bytes of the names of unknown fields that are kept at most.
const NAMES_BYTES_MAX: usize = 200;

/// Keccak-256 of the header's RLP by the rules of Ethereum; `None` where its fields have a hole
/// that no fork has.
///
/// The optional fields follow each other in the order of their forks: EIP-1559, 4895, 4844, 4788,
/// 7685, 7928, 7843.
pub fn header_hash(header: &Header) -> Option<B256> {
    let mut fields = head_of(header);
    fields.extend([&header.mix_hash as &dyn Encodable, &header.nonce]);
    let optional = ethereum_fields(header);
    let given = optional.iter().take_while(|field| field.is_some()).count();
    if optional.iter().skip(given).any(Option::is_some) {
        return None;
    }
    fields.extend(optional.into_iter().flatten());
    Some(hash_of_list(&fields))
}

/// The hash that comes out, by the rules of this header's kind: the block's own where one of them
/// fits, else Ethereum's.
///
/// Which rule is tried may follow what the answer holds: that a hash comes out is the proof.
pub(super) fn matching_hash(header: &Header) -> Option<B256> {
    let plain = header_hash(header);
    if plain == Some(header.hash) {
        return plain;
    }
    let others = [aura_hash(header), avalanche_hash(header), berachain_hash(header)];
    others.into_iter().flatten().find(|hash| *hash == header.hash).or(plain)
}

/// The fields of every header before its seal.
fn head_of(header: &Header) -> Vec<&dyn Encodable> {
    vec![
        &header.parent_hash,
        &header.sha3_uncles,
        &header.miner,
        &header.state_root,
        &header.transactions_root,
        &header.receipts_root,
        &header.logs_bloom,
        &header.difficulty,
        &header.number,
        &header.gas_limit,
        &header.gas_used,
        &header.timestamp,
        &header.extra_data,
    ]
}

fn field<T: Encodable>(value: Option<&T>) -> Option<&dyn Encodable> {
    value.map(|value| value as &dyn Encodable)
}

/// What Ethereum's forks added, in order.
fn ethereum_fields(header: &Header) -> [Option<&dyn Encodable>; 8] {
    [
        field(header.base_fee_per_gas.as_ref()),
        field(header.withdrawals_root.as_ref()),
        field(header.blob_gas_used.as_ref()),
        field(header.excess_blob_gas.as_ref()),
        field(header.parent_beacon_block_root.as_ref()),
        field(header.requests_hash.as_ref()),
        field(header.block_access_list_hash.as_ref()),
        field(header.slot_number.as_ref()),
    ]
}

/// `AuRa` (Gnosis before the merge, POA, Energy Web) puts a step and a signature where others have
/// the mix hash and the nonce.
fn aura_hash(header: &Header) -> Option<B256> {
    let (step, seal) = aura_seal(header)?;
    let is_sealed_otherwise = !header.mix_hash.is_zero() || !header.nonce.is_zero();
    let later = ethereum_fields(header);
    if later.iter().skip(1).any(Option::is_some) || is_sealed_otherwise {
        return None;
    }
    let mut fields = head_of(header);
    fields.extend([&step as &dyn Encodable, &seal]);
    fields.extend(field(header.base_fee_per_gas.as_ref()));
    Some(hash_of_list(&fields))
}

fn aura_seal(header: &Header) -> Option<(u128, Bytes)> {
    Some((extra(&header.extra, "auraStep")?, extra(&header.extra, "auraSeal")?))
}

/// Avalanche's C-Chain (ava-labs/coreth `core/types/block.go`): after the nonce comes
/// `extDataHash`, then the base fee, `extDataGasUsed`, `blockGasCost` and what Cancun added, and
/// since Granite `timestampMilliseconds` and `minDelayExcess`.
fn avalanche_hash(header: &Header) -> Option<B256> {
    let ext_data_hash: B256 = extra(&header.extra, "extDataHash")?;
    let [_, withdrawals_root, _, _, _, after @ ..] = ethereum_fields(header);
    if withdrawals_root.is_some() || after.iter().any(Option::is_some) {
        return None;
    }
    let number = |key| extra::<u128>(&header.extra, key);
    let (gas_used, cost) = (number("extDataGasUsed"), number("blockGasCost"));
    let millis = number("timestampMilliseconds").or_else(|| number("timeMilliseconds"));
    let delay = number("minDelayExcess");
    let optional = [
        field(header.base_fee_per_gas.as_ref()),
        field(gas_used.as_ref()),
        field(cost.as_ref()),
        field(header.blob_gas_used.as_ref()),
        field(header.excess_blob_gas.as_ref()),
        field(header.parent_beacon_block_root.as_ref()),
        field(millis.as_ref()),
        field(delay.as_ref()),
    ];
    let given = optional.iter().take_while(|field| field.is_some()).count();
    let is_whole = optional.iter().skip(given).all(Option::is_none);
    let mut fields = head_of(header);
    fields.extend([&header.mix_hash as &dyn Encodable, &header.nonce, &ext_data_hash]);
    fields.extend(optional.into_iter().flatten());
    is_whole.then(|| hash_of_list(&fields))
}

/// Berachain since Prague1: `parentProposerPubkey` (48 bytes) follows the requests' hash
/// (BRIP-0004).
fn berachain_hash(header: &Header) -> Option<B256> {
    let key: Bytes = extra(&header.extra, "parentProposerPubkey")?;
    let optional = ethereum_fields(header);
    let (of_prague, later) = optional.split_at_checked(6)?;
    let is_of_prague = of_prague.iter().all(Option::is_some) && later.iter().all(Option::is_none);
    // Of another length it could be a later field of Ethereum's under this name.
    if !is_of_prague || key.len() != 48 {
        return None;
    }
    let mut fields = head_of(header);
    fields.extend([&header.mix_hash as &dyn Encodable, &header.nonce]);
    fields.extend(optional.into_iter().flatten());
    fields.push(&key);
    Some(hash_of_list(&fields))
}

/// The names of fields that this program does not know, in order, as far as they are kept.
pub(super) fn unknown_fields(header: &Header) -> impl Iterator<Item = String> {
    let mut bytes = 0;
    let names = header.extra.iter().flat_map(|extra| extra.iter()).filter(|(name, value)| {
        // Known fields stand here too, where their form was odd.
        let is_known = BESIDE.contains(&name.as_str()) || Header::NAMES.contains(&name.as_str());
        !value.is_null() && !is_known
    });
    let is_kept = move |name: &&String| {
        bytes += name.len();
        bytes <= NAMES_BYTES_MAX
    };
    let escaped = |name: &String| name.chars().flat_map(char::escape_default).collect();
    names.map(|(name, _)| name).take_while(is_kept).map(escaped)
}
