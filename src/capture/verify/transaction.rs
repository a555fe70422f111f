//! Transactions as EIP-2718 envelopes, their hashes and their root.

use alloy::rlp::{EMPTY_STRING_CODE, Encodable, Header as RlpHeader, list_length};
use alloy_primitives::{Address, B256, U256, keccak256};
use headwater_storage::model::{AccessListItem, Authorization, Block, Transaction};
use serde_json::Value;

use super::prover::{Prover, Word, types_of};
use super::rules::{has_state_sync, is_new_type, kind};
use super::{Aspect, EncodedItems, Mismatch, compare, extra, ordered_root};

/// Whether every hash and the root are proved; `false` when the chain has transactions that this
/// program cannot hash.
pub(super) fn prove(prover: &Prover, word: Word<'_>, block: &Block) -> Result<bool, Mismatch> {
    let mut items = EncodedItems::default();
    let mut is_whole = true;
    let count = block.transactions.len();
    for (position, transaction) in block.transactions.iter().enumerate() {
        if block.is_outside_roots(position) {
            let number = block.header.number;
            if position + 1 != count || !has_state_sync(prover.chain_id(), number) {
                return Err(Mismatch::StateSync { block: block.block_ref(), position });
            }
            continue;
        }
        let compared = compare_hash(block, position, transaction, &mut items);
        if compared.is_err() {
            let kind = transaction.transaction_type;
            let is_bare = matches!(compared, Err(Mismatch::TransactionType { .. }));
            let aspect = if is_bare && !is_new_type(kind) {
                Aspect::TransactionFields(kind)
            } else {
                Aspect::TransactionType(kind)
            };
            is_whole &= prover.judge(word, &[aspect, Aspect::TransactionType(kind)], compared)?;
        }
    }
    if !is_whole {
        return Ok(false);
    }
    let claimed = block.header.transactions_root;
    let root = compare(block, "the transactions root", claimed, ordered_root(&items));
    if items.ends.is_empty() && root.is_ok() {
        // Chains with roots of their own have Ethereum's for none: nothing is learned from that.
        return Ok(true);
    }
    let mut aspects = vec![Aspect::Transactions];
    if root.is_ok() {
        aspects.extend(types_of(block).into_iter().map(Aspect::TransactionType));
    }
    prover.judge(word, &aspects, root)
}

/// The same, with both hashes where it does not.
fn compare_hash(
    block: &Block,
    position: usize,
    transaction: &Transaction,
    items: &mut EncodedItems,
) -> Result<(), Mismatch> {
    let claimed = transaction.hash;
    let computed = if let Some(fields) = Fields::of(transaction) {
        keccak256(items.add(|out| fields.encode(out)))
    } else {
        let (block, kind) = (block.block_ref(), transaction.transaction_type);
        return Err(Mismatch::TransactionType { block, position, kind });
    };
    if claimed == computed {
        return Ok(());
    }
    Err(Mismatch::Transaction { block: block.block_ref(), position, claimed, computed })
}

/// Some providers give the zero address as the recipient of a deployment, which has none: which of
/// the two it is follows from the hash.
pub(super) fn mend_deployments(block: &mut Block) {
    for transaction in &mut block.transactions {
        if transaction.to == Some(Address::ZERO) {
            let deployment = Transaction { to: None, ..transaction.clone() };
            if !comes_out(transaction) && comes_out(&deployment) {
                *transaction = deployment;
            }
        }
    }
}

/// Whether a transaction hashes to its hash.
pub(super) fn comes_out(transaction: &Transaction) -> bool {
    envelope(transaction).is_some()
}

/// The bytes of a transaction that its hash is made of (EIP-2718), encoded from its fields; `None`
/// where they do not hash to it. A blob transaction is as it stands in its block, without the
/// sidecar of blobs, commitments and proofs that it was sent with (EIP-4844).
pub fn envelope(transaction: &Transaction) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    Fields::of(transaction)?.encode(&mut bytes);
    (keccak256(&bytes) == transaction.hash).then_some(bytes)
}

/// Whether a transaction carries a signature of its sender; others are made by the chain's rules.
pub(super) fn is_signed(transaction: &Transaction) -> bool {
    !matches!(transaction.transaction_type, kind::DEPOSIT | kind::ARBITRUM_INTERNAL)
}

/// The fields of an envelope in order.
pub(super) struct Fields<'a> {
    kind: u8,
    list: Vec<Field<'a>>,
}

/// One RLP item.
enum Field<'a> {
    Number(u128),
    Big(&'a U256),
    To(Option<Address>),
    Address(Address),
    Hash(B256),
    Bytes(&'a [u8]),
    AccessList(&'a [AccessListItem]),
    Hashes(&'a [B256]),
    Authorizations(&'a [Authorization]),
}

impl<'a> Fields<'a> {
    pub(super) fn of(transaction: &'a Transaction) -> Option<Fields<'a>> {
        let list = match transaction.transaction_type {
            0 => legacy(transaction),
            1 => access_list(transaction),
            2 => dynamic_fee(transaction),
            3 => blob(transaction),
            4 => set_code(transaction),
            kind::CELO_FEE_CURRENCY => fee_currency(transaction)?,
            kind::DEPOSIT if has_queue_index(transaction) => parent_message(transaction)?,
            kind::DEPOSIT => deposit(transaction)?,
            kind::ARBITRUM_INTERNAL => vec![
                Field::Number(transaction.chain_id.unwrap_or_default().into()),
                Field::Bytes(&transaction.input),
            ],
            _ => return None,
        };
        Some(Fields { kind: u8::try_from(transaction.transaction_type).ok()?, list })
    }

    /// What was signed: all but the signature, and for EIP-155 the chain in its place.
    pub(super) fn unsigned(mut self, chain_id: Option<u64>) -> Option<Fields<'a>> {
        self.list.truncate(self.list.len().checked_sub(3)?);
        if let Some(chain_id) = chain_id {
            let rest = [Field::Number(chain_id.into()), Field::Number(0), Field::Number(0)];
            self.list.extend(rest);
        }
        Some(self)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        if self.kind != 0 {
            out.push(self.kind);
        }
        let payload_length = self.list.iter().map(Encodable::length).sum();
        RlpHeader { list: true, payload_length }.encode(out);
        for field in &self.list {
            field.encode(out);
        }
    }
}

/// Yellow paper and EIP-155: the chain id is inside of `v`.
fn legacy(t: &Transaction) -> Vec<Field<'_>> {
    vec![
        Field::Number(t.nonce.into()),
        Field::Number(t.gas_price.unwrap_or_default()),
        Field::Number(t.gas.into()),
        Field::To(t.to),
        Field::Big(&t.value),
        Field::Bytes(&t.input),
        Field::Number(t.v.unwrap_or_default().into()),
        Field::Big(&t.r),
        Field::Big(&t.s),
    ]
}

fn chain_id(t: &Transaction) -> Field<'_> {
    Field::Number(t.chain_id.unwrap_or_default().into())
}

fn access_list_field(t: &Transaction) -> Field<'_> {
    Field::AccessList(t.access_list.as_deref().unwrap_or_default())
}

/// The parity of y; some providers give `v` as 27 or 28, or as EIP-155 would.
pub(super) fn parity(t: &Transaction) -> u64 {
    match t.y_parity.or(t.v).unwrap_or_default() {
        v @ (27 | 28) => v - 27,
        v if v >= 35 => (v - 35) % 2,
        v => v,
    }
}

fn signature(t: &Transaction) -> [Field<'_>; 3] {
    [Field::Number(parity(t).into()), Field::Big(&t.r), Field::Big(&t.s)]
}

/// EIP-2930.
fn access_list(t: &Transaction) -> Vec<Field<'_>> {
    let mut list = vec![
        chain_id(t),
        Field::Number(t.nonce.into()),
        Field::Number(t.gas_price.unwrap_or_default()),
        Field::Number(t.gas.into()),
        Field::To(t.to),
        Field::Big(&t.value),
        Field::Bytes(&t.input),
        access_list_field(t),
    ];
    list.extend(signature(t));
    list
}

fn dynamic_fee_body(t: &Transaction) -> Vec<Field<'_>> {
    vec![
        chain_id(t),
        Field::Number(t.nonce.into()),
        Field::Number(t.max_priority_fee_per_gas.unwrap_or_default()),
        Field::Number(t.max_fee_per_gas.unwrap_or_default()),
        Field::Number(t.gas.into()),
        Field::To(t.to),
        Field::Big(&t.value),
        Field::Bytes(&t.input),
        access_list_field(t),
    ]
}

/// EIP-1559.
fn dynamic_fee(t: &Transaction) -> Vec<Field<'_>> {
    let mut list = dynamic_fee_body(t);
    list.extend(signature(t));
    list
}

/// EIP-4844, without the sidecar.
fn blob(t: &Transaction) -> Vec<Field<'_>> {
    let mut list = dynamic_fee_body(t);
    list.push(Field::Number(t.max_fee_per_blob_gas.unwrap_or_default()));
    list.push(Field::Hashes(t.blob_versioned_hashes.as_deref().unwrap_or_default()));
    list.extend(signature(t));
    list
}

/// EIP-7702.
fn set_code(t: &Transaction) -> Vec<Field<'_>> {
    let mut list = dynamic_fee_body(t);
    list.push(Field::Authorizations(t.authorization_list.as_deref().unwrap_or_default()));
    list.extend(signature(t));
    list
}

/// Celo's CIP-64: EIP-1559 with the token that pays the fees behind the access list.
fn fee_currency(t: &Transaction) -> Option<Vec<Field<'_>>> {
    let mut list = dynamic_fee_body(t);
    let currency = extra(&t.extra, "feeCurrency")?;
    list.push(Field::Address(currency));
    list.extend(signature(t));
    Some(list)
}

/// Scroll: a message from the parent chain (`L1MessageTx`, scroll-tech/go-ethereum). Its sender is
/// who it is from.
fn parent_message(t: &Transaction) -> Option<Vec<Field<'_>>> {
    Some(vec![
        Field::Number(extra(&t.extra, "queueIndex")?),
        Field::Number(t.gas.into()),
        Field::To(t.to),
        Field::Big(&t.value),
        Field::Bytes(&t.input),
        Field::Address(t.from),
    ])
}

fn has_queue_index(t: &Transaction) -> bool {
    t.extra.as_ref().and_then(|extra| extra.get("queueIndex")).is_some_and(|it| !it.is_null())
}

/// OP-stack deposits: source hash, from, to, mint, value, gas, is system, data.
fn deposit(t: &Transaction) -> Option<Vec<Field<'_>>> {
    let is_null =
        |key| t.extra.as_ref().and_then(|extra| extra.get(key)).is_none_or(Value::is_null);
    let mint = if is_null("mint") { 0 } else { extra(&t.extra, "mint")? };
    let system = t.extra.as_ref().and_then(|extra| extra.get("isSystemTx"));
    let is_system =
        system.is_some_and(|value| *value == true || *value == "true" || *value == "0x1");
    Some(vec![
        Field::Hash(extra(&t.extra, "sourceHash")?),
        Field::Address(t.from),
        Field::To(t.to),
        Field::Number(mint),
        Field::Big(&t.value),
        Field::Number(t.gas.into()),
        Field::Number(u128::from(is_system)),
        Field::Bytes(&t.input),
    ])
}

/// An access-list item or an authorization as a list of encodable fields.
fn access_item_length(item: &AccessListItem) -> usize {
    item.address.length() + list_length::<B256, B256>(&item.storage_keys)
}

fn authorization_fields(item: &Authorization) -> [&dyn Encodable; 6] {
    [&item.chain_id, &item.address, &item.nonce, &item.y_parity, &item.r, &item.s]
}

fn authorization_length(item: &Authorization) -> usize {
    authorization_fields(item).iter().map(Encodable::length).sum()
}

fn header(payload_length: usize) -> RlpHeader {
    RlpHeader { list: true, payload_length }
}

fn with_header(payload_length: usize) -> usize {
    header(payload_length).length() + payload_length
}

impl Encodable for Field<'_> {
    fn length(&self) -> usize {
        match self {
            Field::Number(number) => number.length(),
            Field::Big(number) => number.length(),
            Field::To(None) => 1,
            Field::To(Some(address)) | Field::Address(address) => address.length(),
            Field::Hash(hash) => hash.length(),
            Field::Bytes(bytes) => bytes.length(),
            Field::Hashes(hashes) => list_length::<B256, B256>(hashes),
            Field::AccessList(list) => {
                with_header(list.iter().map(|item| with_header(access_item_length(item))).sum())
            }
            Field::Authorizations(list) => {
                with_header(list.iter().map(|item| with_header(authorization_length(item))).sum())
            }
        }
    }

    fn encode(&self, out: &mut dyn alloy::rlp::BufMut) {
        match self {
            Field::Number(number) => number.encode(out),
            Field::Big(number) => number.encode(out),
            Field::To(None) => out.put_u8(EMPTY_STRING_CODE),
            Field::To(Some(address)) | Field::Address(address) => address.encode(out),
            Field::Hash(hash) => hash.encode(out),
            Field::Bytes(bytes) => bytes.encode(out),
            Field::Hashes(hashes) => alloy::rlp::encode_list::<B256, B256>(hashes, out),
            Field::AccessList(list) => {
                header(list.iter().map(|item| with_header(access_item_length(item))).sum())
                    .encode(out);
                for item in *list {
                    header(access_item_length(item)).encode(out);
                    item.address.encode(out);
                    alloy::rlp::encode_list::<B256, B256>(&item.storage_keys, out);
                }
            }
            Field::Authorizations(list) => {
                header(list.iter().map(|item| with_header(authorization_length(item))).sum())
                    .encode(out);
                for item in *list {
                    header(authorization_length(item)).encode(out);
                    for field in authorization_fields(item) {
                        field.encode(out);
                    }
                }
            }
        }
    }
}
