//! Senders: who signed a transaction must be who it says that it is from (secp256k1).

use alloy_primitives::{Address, B256, U256, keccak256};
use headwater_storage::model::{Block, Transaction};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use super::Mismatch;
use super::transaction::{Fields, is_signed, parity};

/// Whether the senders of all signed transactions were proved; `false` when one cannot be: a type
/// that is not known, or a transaction without a signature where one is due.
pub(super) fn prove(block: &Block) -> Result<bool, Mismatch> {
    let mut is_whole = true;
    for (position, transaction) in block.transactions.iter().enumerate() {
        if block.is_outside_roots(position) || !is_signed(transaction) {
            continue;
        }
        let Some(signer) = signer(transaction) else {
            is_whole = false;
            continue;
        };
        if signer != transaction.from {
            let (block, claimed) = (block.block_ref(), transaction.from);
            return Err(Mismatch::Sender { block, position, claimed, computed: signer });
        }
    }
    Ok(is_whole)
}

/// Who signed a transaction.
fn signer(transaction: &Transaction) -> Option<Address> {
    let (parity, chain_id) = signed(transaction)?;
    let mut unsigned = Vec::with_capacity(256);
    Fields::of(transaction)?.unsigned(chain_id)?.encode(&mut unsigned);
    recover(keccak256(&unsigned), parity, transaction.r, transaction.s)
}

/// The parity of y, and for EIP-155 the chain that the signature is for.
fn signed(transaction: &Transaction) -> Option<(bool, Option<u64>)> {
    if transaction.transaction_type != 0 {
        transaction.y_parity.or(transaction.v)?;
        let parity = parity(transaction);
        return (parity < 2).then_some((parity == 1, None));
    }
    match transaction.v? {
        v @ (27 | 28) => Some((v == 28, None)),
        v if v >= 35 => Some(((v - 35) % 2 == 1, Some((v - 35) / 2))),
        _ => None,
    }
}

fn recover(digest: B256, parity: bool, r: U256, s: U256) -> Option<Address> {
    let (r, s) = (r.to_be_bytes::<32>(), s.to_be_bytes::<32>());
    let signature = Signature::from_scalars(r, s).ok()?;
    // Before Homestead s could be in the upper half: the same signature with y on the other side.
    let (signature, parity) = match signature.normalize_s() {
        Some(normal) => (normal, !parity),
        None => (signature, parity),
    };
    let id = RecoveryId::new(parity, false);
    let key = VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, id).ok()?;
    let point = key.to_encoded_point(false);
    let hash = keccak256(point.as_bytes().get(1..)?);
    Some(Address::from_slice(hash.get(12..)?))
}
