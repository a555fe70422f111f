//! A transaction of any type with every field that a provider gave.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde::de::{self, MapAccess};
use serde_json::value::RawValue;

use super::BlockRef;
use super::json::{JsonField, Odd, Scalar, original, write_list};
use super::object::json_object;

json_object! {
    /// A transaction: types 0 to 4 (EIP-155, 2930, 1559, 4844, 7702); others by `extra`.
    Transaction, TransactionKey, TransactionLinks,
    stored {
        /// Keccak-256 of the EIP-2718 envelope.
        hash: B256 = "hash",
        /// EIP-2718 type, 0 for legacy.
        transaction_type: u64 = "type",
        /// Number of the sender's transaction.
        nonce: u64 = "nonce",
        /// Sender.
        from: Address = "from",
        /// Recipient, none for a deployment.
        to: Option<Address> = "to",
        /// Wei.
        value: U256 = "value",
        /// Gas limit.
        gas: u64 = "gas",
        /// Wei per gas; for EIP-1559 what was paid.
        gas_price: Option<u128> = "gasPrice",
        /// Wei per gas at most (EIP-1559).
        max_fee_per_gas: Option<u128> = "maxFeePerGas",
        /// Wei per gas to the proposer at most (EIP-1559).
        max_priority_fee_per_gas: Option<u128> = "maxPriorityFeePerGas",
        /// Wei per blob gas at most (EIP-4844).
        max_fee_per_blob_gas: Option<u128> = "maxFeePerBlobGas",
        /// Call data, or a deployment's code.
        input: Bytes = "input",
        /// Chain that the signature is for.
        chain_id: Option<u64> = "chainId",
        /// Signature: `v`.
        v: Option<u64> = "v",
        /// Signature: parity of y.
        y_parity: Option<u64> = "yParity",
        /// Signature: `r`.
        r: U256 = "r",
        /// Signature: `s`.
        s: U256 = "s",
        /// EIP-2930.
        access_list: Option<Vec<AccessListItem>> = "accessList",
        /// EIP-4844.
        blob_versioned_hashes: Option<Vec<B256>> = "blobVersionedHashes",
        /// EIP-7702.
        authorization_list: Option<Vec<Authorization>> = "authorizationList",
    }
    linked {
        /// The block.
        block_hash: B256 = "blockHash",
        /// The block's height.
        block_number: u64 = "blockNumber",
        /// Position in the block.
        transaction_index: u64 = "transactionIndex",
        /// The block's time.
        block_timestamp: u64 = "blockTimestamp",
    }
}

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Moves value and calls nothing.
    Transfer,
    /// Calls a contract with data.
    Call,
    /// Makes a contract.
    Deployment,
}

impl Kind {
    /// `transfer`, `call` or `deployment`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Transfer => "transfer",
            Kind::Call => "call",
            Kind::Deployment => "deployment",
        }
    }
}

impl Transaction {
    /// A transfer has no data, a deployment no recipient, all else is a call.
    pub fn kind(&self) -> Kind {
        match (self.to, self.input.is_empty()) {
            (None, _) => Kind::Deployment,
            (Some(_), true) => Kind::Transfer,
            (Some(_), false) => Kind::Call,
        }
    }

    /// Whether this is Polygon bor's state-sync transaction of a block: in the JSON, but in no
    /// root. Its hash follows from the block's, so nothing else can look like it
    /// (`GetDerivedBorTxHash`, 0xPolygon/bor `core/types/bor_receipt.go`). bor gives it the links
    /// of whichever fork it saw last. Since PIP-74 such transactions have type 0x7f and are in both
    /// roots.
    pub fn is_state_sync(&self, block: BlockRef) -> bool {
        let has_form = self.transaction_type == 0
            && self.gas == 0
            && self.from.is_zero()
            && self.to.is_some_and(|to| to.is_zero());
        has_form && self.hash == state_sync_hash(block)
    }

    /// A field that is kept as it came, such as an OP-stack deposit's `sourceHash`.
    pub fn extra_text(&self, key: &str) -> Option<&str> {
        self.extra.as_ref()?.get(key)?.as_str()
    }
}

/// Keccak-256 of `matic-bor-receipt-`, the number (8 bytes, big-endian) and the block's hash.
fn state_sync_hash(block: BlockRef) -> B256 {
    let mut key = Vec::with_capacity(18 + 8 + 32);
    key.extend_from_slice(b"matic-bor-receipt-");
    key.extend_from_slice(&block.number.to_be_bytes());
    key.extend_from_slice(block.hash.as_slice());
    keccak256(&key)
}

/// An address and the storage keys that a transaction will touch (EIP-2930).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessListItem {
    /// The contract.
    pub address: Address,
    /// Its slots.
    pub storage_keys: Vec<B256>,
}

/// A signed permission to set an account's code (EIP-7702).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    /// Chain, or 0 for any.
    pub chain_id: U256,
    /// Whose code is taken.
    pub address: Address,
    /// The signer's nonce.
    pub nonce: u64,
    /// Signature: parity of y.
    pub y_parity: u64,
    /// Signature: `r`.
    pub r: U256,
    /// Signature: `s`.
    pub s: U256,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccessListText<'a> {
    address: &'a str,
    #[serde(borrow)]
    storage_keys: Vec<&'a str>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationText<'a> {
    chain_id: &'a str,
    address: &'a str,
    nonce: &'a str,
    #[serde(borrow)]
    y_parity: Option<&'a str>,
    /// What some providers give in its place, or beside it.
    v: Option<&'a str>,
    r: &'a str,
    s: &'a str,
}

/// Reads one scalar of a nested object and remembers whether all were canonical.
fn scalar<T: Scalar, E: de::Error>(text: &str, canonical: &mut bool) -> Result<T, E> {
    let (value, plain) =
        T::from_text(text).ok_or_else(|| E::custom(format_args!("`{text}` is malformed")))?;
    *canonical &= plain;
    Ok(value)
}

fn quoted<T: Scalar>(key: &str, value: &T, out: &mut String) {
    out.push_str(key);
    value.write_hex(out);
    out.push('"');
}

impl JsonField for Option<Vec<AccessListItem>> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        let Some(raw) = map.next_value::<Option<&RawValue>>()? else { return Ok((None, None)) };
        let texts: Vec<AccessListText<'_>> =
            serde_json::from_str(raw.get()).map_err(de::Error::custom)?;
        let mut canonical = true;
        let mut list = Vec::with_capacity(texts.len());
        for text in texts {
            let keys = text.storage_keys.iter().map(|key| scalar(key, &mut canonical));
            let storage_keys = keys.collect::<Result<_, A::Error>>()?;
            list.push(AccessListItem {
                address: scalar(text.address, &mut canonical)?,
                storage_keys,
            });
        }
        Ok((Some(list), original(raw, canonical)?))
    }

    fn write(&self, out: &mut String) {
        let Some(list) = self else { return out.push_str("null") };
        write_list(list, out, |item, out| {
            quoted("{\"address\":\"", &item.address, out);
            out.push_str(",\"storageKeys\":");
            item.storage_keys.write(out);
            out.push('}');
        });
    }
}

impl JsonField for Option<Vec<Authorization>> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        let Some(raw) = map.next_value::<Option<&RawValue>>()? else { return Ok((None, None)) };
        let texts: Vec<AuthorizationText<'_>> =
            serde_json::from_str(raw.get()).map_err(de::Error::custom)?;
        let mut canonical = true;
        let mut list = Vec::with_capacity(texts.len());
        for text in texts {
            let y_parity = text.y_parity.or(text.v).ok_or_else(|| {
                de::Error::custom("an authorization has neither `yParity` nor `v`")
            })?;
            list.push(Authorization {
                chain_id: scalar(text.chain_id, &mut canonical)?,
                address: scalar(text.address, &mut canonical)?,
                nonce: scalar(text.nonce, &mut canonical)?,
                y_parity: scalar(y_parity, &mut canonical)?,
                r: scalar(text.r, &mut canonical)?,
                s: scalar(text.s, &mut canonical)?,
            });
        }
        // Providers differ in extra keys here: whatever does not come back the same is kept.
        let value = Some(list);
        let mut again = String::new();
        value.write(&mut again);
        let same =
            super::json::parse_value(&again).ok() == super::json::parse_value(raw.get()).ok();
        Ok((value, original(raw, canonical && same)?))
    }

    fn write(&self, out: &mut String) {
        let Some(list) = self else { return out.push_str("null") };
        write_list(list, out, |item, out| {
            quoted("{\"chainId\":\"", &item.chain_id, out);
            quoted(",\"address\":\"", &item.address, out);
            quoted(",\"nonce\":\"", &item.nonce, out);
            quoted(",\"yParity\":\"", &item.y_parity, out);
            quoted(",\"r\":\"", &item.r, out);
            quoted(",\"s\":\"", &item.s, out);
            out.push('}');
        });
    }
}
