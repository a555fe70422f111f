//! A header's hash, by the rules of every Ethereum fork and of `AuRa`.

use alloy::rlp::Encodable;
use alloy_primitives::{B256, Bytes};
use headwater_storage::model::json::Scalar;
use headwater_storage::model::{Header, HeaderKey};

use super::{extra_bytes, hash_of_list};

/// Keccak-256 of the header's RLP; `None` when the provider does not give what goes into it.
///
/// The optional fields follow each other in the order of their forks: EIP-1559, 4895, 4844, 4788,
/// 7685.
pub fn header_hash(header: &Header) -> Option<B256> {
    let mut fields: Vec<&dyn Encodable> = vec![
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
    ];
    let aura = aura_seal(header);
    match &aura {
        Some((step, seal)) => fields.extend([step as &dyn Encodable, seal]),
        None if is_sealed_otherwise(header) => return None,
        None => fields.extend([&header.mix_hash as &dyn Encodable, &header.nonce]),
    }
    fields.extend(header.base_fee_per_gas.as_ref().map(|f| f as &dyn Encodable));
    fields.extend(header.withdrawals_root.as_ref().map(|f| f as &dyn Encodable));
    fields.extend(header.blob_gas_used.as_ref().map(|f| f as &dyn Encodable));
    fields.extend(header.excess_blob_gas.as_ref().map(|f| f as &dyn Encodable));
    fields.extend(header.parent_beacon_block_root.as_ref().map(|f| f as &dyn Encodable));
    fields.extend(header.requests_hash.as_ref().map(|f| f as &dyn Encodable));
    Some(hash_of_list(&fields))
}

/// `AuRa` puts a step and a signature where others have the mix hash and the nonce.
fn aura_seal(header: &Header) -> Option<(u128, Bytes)> {
    let step = header.extra.as_ref()?.get("auraStep")?;
    let step = match step.as_u64() {
        Some(step) => u128::from(step),
        None => u128::from_text(step.as_str()?)?.0,
    };
    let seal = header.extra.as_ref()?.get("auraSeal")?.as_str()?;
    let seal = const_hex::decode(seal).ok()?;
    Some((step, seal.into()))
}

/// Neither a nonce nor a mix hash was given: the seal is of a kind that is not in the answer.
fn is_sealed_otherwise(header: &Header) -> bool {
    let has = |key, name: &str| header.has(key) || extra_bytes(header, name).is_some();
    !has(HeaderKey::nonce, "nonce") && !has(HeaderKey::mix_hash, "mixHash")
}
