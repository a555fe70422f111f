//! Synthetic transactions of every type, signed, with the receipts that they would have.

use alloy::consensus::{
    Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, SignableTransaction, Signed,
    TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxEnvelope, TxLegacy,
};
use alloy::eips::eip2930::{AccessList, AccessListItem};
use alloy::eips::eip7702::Authorization;
use alloy::primitives::{
    Address, B256, Bloom, Bytes, Log, LogData, Signature, TxKind, U256, address, b256, keccak256,
};
use k256::ecdsa::SigningKey;

use super::config::Fork;

/// `Transfer(address,address,uint256)`, of ERC-20 and ERC-721 alike.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// Who tells of plain transfers (EIP-7708).
const SYSTEM: Address = address!("fffffffffffffffffffffffffffffffffffffffe");
const ACCOUNTS: u8 = 8;
/// Wei per gas of every synthetic block.
pub(super) const BASE_FEE: u64 = 7_000_000_000;
const TIP: u128 = 1_000_000_000;
const FEE: u128 = BASE_FEE as u128 + TIP;
const TOKEN: Address = Address::repeat_byte(0x20);
const COLLECTIBLE: Address = Address::repeat_byte(0x72);

/// The accounts of a chain.
pub(super) struct Accounts {
    chain_id: u64,
    keys: Vec<(SigningKey, Address)>,
}

/// The block that transactions are made for.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: u64,
    /// Tells forks apart.
    pub(super) entropy: B256,
    pub(super) fork: Fork,
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

    /// The transaction at a position of a block.
    pub(super) fn make(&self, place: Place, at: u64, gas_before: u64) -> Option<Made> {
        let Place { block, entropy, fork } = place;
        let (key, from) = self.account(block.wrapping_add(at))?;
        let word = keccak256([entropy.as_slice(), &at.to_be_bytes()].concat());
        let draft = Draft {
            key,
            from: *from,
            peer: self.address(at + 3),
            chain_id: self.chain_id,
            block,
            fork,
            // Unique per account, whatever happened on other forks.
            nonce: block * 1_000 + at,
            word,
            amount: (U256::from_be_bytes(word.0) >> 200_usize) + U256::from(1),
        };
        let (envelope, shape) = match at % 7 {
            0 => draft.transfer()?,
            1 | 4 => draft.token_transfer()?,
            2 => draft.collectible_transfer()?,
            3 => draft.deployment()?,
            5 => draft.blob()?,
            _ => draft.delegation()?,
        };
        Some(shape.finish(envelope, *from, gas_before))
    }
}

/// What all kinds of transactions are made from.
struct Draft<'a> {
    key: &'a SigningKey,
    from: Address,
    peer: Address,
    chain_id: u64,
    block: u64,
    fork: Fork,
    nonce: u64,
    /// Randomness of this transaction on this fork.
    word: B256,
    amount: U256,
}

impl Draft<'_> {
    /// Type 0: wei from account to account.
    fn transfer(&self) -> Option<(TxEnvelope, Shape)> {
        let tx = TxLegacy {
            chain_id: Some(self.chain_id),
            nonce: self.nonce,
            gas_price: FEE,
            gas_limit: 21_000,
            to: TxKind::Call(self.peer),
            value: self.amount,
            input: Bytes::new(),
        };
        let mut shape = Shape::of(21_000);
        // EIP-7708: not of what an account sends to itself.
        if self.fork == Fork::Amsterdam && self.peer != self.from {
            let topics = vec![TRANSFER, self.from.into_word(), self.peer.into_word()];
            shape.logs.push(log(SYSTEM, topics, self.amount.to_be_bytes_vec()));
        }
        Some((TxEnvelope::Legacy(sign(self.key, tx)?), shape))
    }

    /// Type 2: `transfer(address,uint256)` of an ERC-20 token.
    fn token_transfer(&self) -> Option<(TxEnvelope, Shape)> {
        let tx = self.dynamic(TxKind::Call(TOKEN), self.call([0xa9, 0x05, 0x9c, 0xbb]));
        // ERC-20: the amount is in the data.
        let topics = vec![TRANSFER, self.from.into_word(), self.peer.into_word()];
        let log = log(TOKEN, topics, self.amount.to_be_bytes_vec());
        let shape = Shape { logs: vec![log], ..Shape::of(51_000) };
        Some((TxEnvelope::Eip1559(sign(self.key, tx)?), shape))
    }

    /// Type 1: `safeTransferFrom` of an ERC-721 token, with an access list.
    fn collectible_transfer(&self) -> Option<(TxEnvelope, Shape)> {
        let keys = vec![self.word, B256::from(self.amount)];
        let access = AccessListItem { address: COLLECTIBLE, storage_keys: keys };
        let tx = TxEip2930 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_price: FEE,
            gas_limit: 90_000,
            to: TxKind::Call(COLLECTIBLE),
            value: U256::ZERO,
            access_list: AccessList(vec![access]),
            input: self.call([0x42, 0x84, 0x2e, 0x0e]),
        };
        // ERC-721: the token's number is a topic.
        let (from, to) = (self.from.into_word(), self.peer.into_word());
        let topics = vec![TRANSFER, from, to, B256::from(self.amount)];
        let shape = Shape { logs: vec![log(COLLECTIBLE, topics, Vec::new())], ..Shape::of(60_000) };
        Some((TxEnvelope::Eip2930(sign(self.key, tx)?), shape))
    }

    /// Type 2: a contract that returns nothing.
    fn deployment(&self) -> Option<(TxEnvelope, Shape)> {
        let code = Bytes::from_static(&[0x60, 0x00, 0x60, 0x00, 0xf3]);
        let tx = self.dynamic(TxKind::Create, code);
        let shape = Shape { created: Some(self.from.create(self.nonce)), ..Shape::of(120_000) };
        Some((TxEnvelope::Eip1559(sign(self.key, tx)?), shape))
    }

    /// Type 3: one blob (EIP-4844).
    fn blob(&self) -> Option<(TxEnvelope, Shape)> {
        let mut hash = keccak256(self.word);
        if let Some(version) = hash.0.first_mut() {
            *version = 1;
        }
        let tx = TxEip4844 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: 21_000,
            max_fee_per_gas: FEE,
            max_priority_fee_per_gas: TIP,
            to: self.peer,
            value: U256::ZERO,
            access_list: AccessList::default(),
            blob_versioned_hashes: vec![hash],
            max_fee_per_blob_gas: 1,
            input: Bytes::new(),
        };
        let signature = sign_hash(self.key, tx.signature_hash())?;
        let envelope = TxEnvelope::Eip4844(tx.into_signed(signature).map(Into::into));
        Some((envelope, Shape { blobs: 1, ..Shape::of(21_000) }))
    }

    /// Type 4: an account that takes the token's code (EIP-7702).
    fn delegation(&self) -> Option<(TxEnvelope, Shape)> {
        let chain_id = U256::from(self.chain_id);
        let grant = Authorization { chain_id, address: TOKEN, nonce: self.block };
        let signature = sign_hash(self.key, grant.signature_hash())?;
        let tx = TxEip7702 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: 80_000,
            max_fee_per_gas: FEE,
            max_priority_fee_per_gas: TIP,
            to: self.peer,
            value: U256::ZERO,
            access_list: AccessList::default(),
            authorization_list: vec![grant.into_signed(signature)],
            input: Bytes::new(),
        };
        Some((TxEnvelope::Eip7702(sign(self.key, tx)?), Shape::of(46_000)))
    }

    fn dynamic(&self, to: TxKind, input: Bytes) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: 200_000,
            max_fee_per_gas: FEE * 2,
            max_priority_fee_per_gas: TIP,
            to,
            value: U256::ZERO,
            access_list: AccessList::default(),
            input,
        }
    }

    /// Calldata of a function that takes an address and an amount.
    fn call(&self, selector: [u8; 4]) -> Bytes {
        let words = [self.peer.into_word(), B256::from(self.amount)];
        [selector.as_slice(), words.concat().as_slice()].concat().into()
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
    fn of(gas_used: u64) -> Shape {
        Shape { gas_used, logs: Vec::new(), created: None, blobs: 0 }
    }

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
