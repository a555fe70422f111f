//! Synthetic transactions of every type, signed, with the receipts that they would have.

use alloy::consensus::{
    Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, SignableTransaction, Signed,
    TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxEnvelope, TxLegacy,
};
use alloy::eips::eip2930::{AccessList, AccessListItem};
use alloy::eips::eip7702::Authorization;
use alloy::primitives::{
    Address, B256, Bloom, Bytes, Log, LogData, Signature, TxKind, U256, b256, keccak256,
};
use k256::ecdsa::SigningKey;

/// `Transfer(address,address,uint256)`, of ERC-20 and ERC-721 alike.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
const ACCOUNTS: u8 = 8;
/// Wei per gas of every synthetic block.
pub(super) const BASE_FEE: u64 = 7_000_000_000;
const TIP: u128 = 1_000_000_000;

/// The accounts of a chain.
pub(super) struct Accounts {
    chain_id: u64,
    keys: Vec<(SigningKey, Address)>,
}

/// A transaction with its receipt.
pub(super) struct Made {
    pub(super) envelope: TxEnvelope,
    pub(super) from: Address,
    pub(super) receipt: ReceiptEnvelope,
    pub(super) gas_used: u64,
    pub(super) created: Option<Address>,
    pub(super) blobs: u64,
}

impl Accounts {
    pub(super) fn new(chain_id: u64, seed: u64) -> Accounts {
        let key = |n: u8| {
            let mut text = seed.to_be_bytes().to_vec();
            text.push(n);
            let key = SigningKey::from_slice(keccak256(&text).as_slice()).ok()?;
            let address = Address::from_private_key(&key);
            Some((key, address))
        };
        Accounts { chain_id, keys: (0..ACCOUNTS).filter_map(key).collect() }
    }

    fn account(&self, n: u64) -> Option<&(SigningKey, Address)> {
        let count = self.keys.len().max(1) as u64;
        self.keys.get(usize::try_from(n % count).unwrap_or(0))
    }

    fn address(&self, n: u64) -> Address {
        self.account(n).map(|(_, address)| *address).unwrap_or_default()
    }

    /// The transaction at a position of a block; `entropy` tells forks apart.
    pub(super) fn make(&self, block: u64, at: u64, entropy: B256, gas_before: u64) -> Option<Made> {
        let (key, from) = self.account(block.wrapping_add(at))?;
        // Unique per account, whatever happened on other forks.
        let nonce = block * 1_000 + at;
        let word =
            U256::from_be_bytes(keccak256([entropy.as_slice(), &at.to_be_bytes()].concat()).0);
        let amount = (word >> 200_usize) + U256::from(1);
        let peer = self.address(at + 3);
        let token = Address::repeat_byte(0x20);
        let collectible = Address::repeat_byte(0x72);
        let fee = u128::from(BASE_FEE) + TIP;
        let call = |selector: [u8; 4]| {
            let mut data = selector.to_vec();
            data.extend_from_slice(&[0; 12]);
            data.extend_from_slice(peer.as_slice());
            data.extend_from_slice(&amount.to_be_bytes::<32>());
            Bytes::from(data)
        };
        let chain_id = self.chain_id;
        let mut shape = Shape { gas_used: 21_000, logs: Vec::new(), created: None, blobs: 0 };
        let envelope = match at % 7 {
            0 => {
                let tx = TxLegacy {
                    chain_id: Some(chain_id),
                    nonce,
                    gas_price: fee,
                    gas_limit: 21_000,
                    to: TxKind::Call(peer),
                    value: amount,
                    input: Bytes::new(),
                };
                TxEnvelope::Legacy(sign(key, tx)?)
            }
            1 | 4 => {
                shape.gas_used = 51_000;
                shape.logs = vec![transfer_log(token, *from, peer, amount)];
                TxEnvelope::Eip1559(sign(
                    key,
                    dynamic(
                        chain_id,
                        nonce,
                        fee,
                        TxKind::Call(token),
                        call([0xa9, 0x05, 0x9c, 0xbb]),
                    ),
                )?)
            }
            2 => {
                shape.gas_used = 60_000;
                shape.logs = vec![collectible_log(collectible, *from, peer, amount)];
                let keys = vec![B256::from(word), entropy];
                let access = AccessListItem { address: collectible, storage_keys: keys };
                let tx = TxEip2930 {
                    chain_id,
                    nonce,
                    gas_price: fee,
                    gas_limit: 90_000,
                    to: TxKind::Call(collectible),
                    value: U256::ZERO,
                    access_list: AccessList(vec![access]),
                    input: call([0x42, 0x84, 0x2e, 0x0e]),
                };
                TxEnvelope::Eip2930(sign(key, tx)?)
            }
            3 => {
                shape.gas_used = 120_000;
                shape.created = Some(from.create(nonce));
                let code = Bytes::from_static(&[0x60, 0x00, 0x60, 0x00, 0xf3]);
                TxEnvelope::Eip1559(sign(key, dynamic(chain_id, nonce, fee, TxKind::Create, code))?)
            }
            5 => {
                shape.blobs = 1;
                let mut hash = keccak256(entropy);
                if let Some(version) = hash.0.first_mut() {
                    *version = 1;
                }
                let tx = TxEip4844 {
                    chain_id,
                    nonce,
                    gas_limit: 21_000,
                    max_fee_per_gas: fee,
                    max_priority_fee_per_gas: TIP,
                    to: peer,
                    value: U256::ZERO,
                    access_list: AccessList::default(),
                    blob_versioned_hashes: vec![hash],
                    max_fee_per_blob_gas: 1,
                    input: Bytes::new(),
                };
                let (signature, hash) = (sign_hash(key, tx.signature_hash())?, None::<B256>);
                drop(hash);
                TxEnvelope::Eip4844(tx.into_signed(signature).map(Into::into))
            }
            _ => {
                shape.gas_used = 46_000;
                let grant =
                    Authorization { chain_id: U256::from(chain_id), address: token, nonce: block };
                let signature = sign_hash(key, grant.signature_hash())?;
                let tx = TxEip7702 {
                    chain_id,
                    nonce,
                    gas_limit: 80_000,
                    max_fee_per_gas: fee,
                    max_priority_fee_per_gas: TIP,
                    to: peer,
                    value: U256::ZERO,
                    access_list: AccessList::default(),
                    authorization_list: vec![grant.into_signed(signature)],
                    input: Bytes::new(),
                };
                TxEnvelope::Eip7702(sign(key, tx)?)
            }
        };
        Some(shape.finish(envelope, *from, gas_before))
    }
}

/// What a transaction does, before it has a receipt.
struct Shape {
    gas_used: u64,
    logs: Vec<Log>,
    created: Option<Address>,
    blobs: u64,
}

impl Shape {
    fn finish(self, envelope: TxEnvelope, from: Address, gas_before: u64) -> Made {
        let receipt = Receipt {
            status: Eip658Value::Eip658(true),
            cumulative_gas_used: gas_before + self.gas_used,
            logs: self.logs,
        };
        let logs_bloom: Bloom = receipt.logs.iter().collect();
        let receipt = ReceiptWithBloom { receipt, logs_bloom };
        let receipt = match &envelope {
            TxEnvelope::Legacy(_) => ReceiptEnvelope::Legacy(receipt),
            TxEnvelope::Eip2930(_) => ReceiptEnvelope::Eip2930(receipt),
            TxEnvelope::Eip1559(_) => ReceiptEnvelope::Eip1559(receipt),
            TxEnvelope::Eip4844(_) => ReceiptEnvelope::Eip4844(receipt),
            TxEnvelope::Eip7702(_) => ReceiptEnvelope::Eip7702(receipt),
        };
        let (gas_used, created, blobs) = (self.gas_used, self.created, self.blobs);
        Made { envelope, from, receipt, gas_used, created, blobs }
    }
}

fn dynamic(chain_id: u64, nonce: u64, fee: u128, to: TxKind, input: Bytes) -> TxEip1559 {
    TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: fee * 2,
        max_priority_fee_per_gas: TIP,
        to,
        value: U256::ZERO,
        access_list: AccessList::default(),
        input,
    }
}

fn sign_hash(key: &SigningKey, hash: B256) -> Option<Signature> {
    key.sign_prehash_recoverable(hash.as_slice()).ok().map(Signature::from)
}

fn sign<T: SignableTransaction<Signature>>(key: &SigningKey, tx: T) -> Option<Signed<T>> {
    let signature = sign_hash(key, tx.signature_hash())?;
    Some(tx.into_signed(signature))
}

fn log(address: Address, topics: Vec<B256>, data: Vec<u8>) -> Log {
    Log { address, data: LogData::new_unchecked(topics, data.into()) }
}

/// ERC-20: the amount is in the data.
fn transfer_log(token: Address, from: Address, to: Address, amount: U256) -> Log {
    let topics = vec![TRANSFER, from.into_word(), to.into_word()];
    log(token, topics, amount.to_be_bytes_vec())
}

/// ERC-721: the token's number is a topic.
fn collectible_log(token: Address, from: Address, to: Address, id: U256) -> Log {
    let topics = vec![TRANSFER, from.into_word(), to.into_word(), B256::from(id)];
    log(token, topics, Vec::new())
}
