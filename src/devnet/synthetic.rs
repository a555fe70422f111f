//! Synthetic blocks: a pure function of the chain's seed, the parent, the time and the fork.

use alloy::consensus::transaction::Transaction;
use alloy::consensus::{Header, TxReceipt, Typed2718, proofs};
use alloy::eips::eip4895::{Withdrawal, Withdrawals};
use alloy::primitives::{Address, B64, B256, Bloom, U256, b256, keccak256};
use serde_json::{Value, json};

use super::config::{DevnetConfig, Fork};
use super::journal::Recipe;
use super::node::Built;
use super::transactions::{Accounts, BASE_FEE, Made, Place};

/// Hash of an empty list of execution requests: SHA-256 of nothing (EIP-7685).
const NO_REQUESTS: B256 = b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
const GAS_PER_BLOB: u64 = 131_072;
const GAS_LIMIT: u64 = 30_000_000;
/// Gas of a cleared slot that its transaction gets back, and since Amsterdam the block does not
/// (EIP-3529, EIP-7778).
const REFUND: u64 = 4_800;
/// Every so many blocks of Amsterdam have such a refund.
const REFUND_EVERY: u64 = 3;
const SLOT_SECONDS: u64 = 12;

fn hex(number: impl std::fmt::LowerHex) -> String {
    format!("{number:#x}")
}

/// Makes the block of a recipe.
pub(super) fn build(accounts: &Accounts, recipe: &Recipe, config: &DevnetConfig) -> Built {
    let seed =
        [recipe.parent_hash.as_slice(), &recipe.number.to_be_bytes(), &recipe.salt.to_be_bytes()];
    let entropy = keccak256(seed.concat());
    let fork = if recipe.number < config.fork_block { Fork::default() } else { config.fork };
    let place = Place { block: recipe.number, entropy, fork };
    let mut made: Vec<Made> = Vec::new();
    let mut gas_used = 0;
    let count = if recipe.number == 0 { 0 } else { config.transactions as u64 };
    for at in 0..count {
        if let Some(one) = accounts.make(place, at, gas_used) {
            gas_used += one.gas_used;
            made.push(one);
        }
    }
    let withdrawals = withdrawals(recipe.number);
    let mut header = header(recipe, entropy, &made, &withdrawals);
    header.timestamp = header.timestamp.saturating_mul(config.timestamp_unit.per_second());
    header.gas_used = gas_used;
    if fork == Fork::Amsterdam {
        make_amsterdam(&mut header, recipe);
    }
    let hash = header.hash_slow();
    render(&header, hash, &made, &withdrawals)
}

fn make_amsterdam(header: &mut Header, recipe: &Recipe) {
    header.block_access_list_hash = Some(keccak256(header.state_root));
    header.slot_number = Some(recipe.timestamp / SLOT_SECONDS);
    if header.gas_used > 0 && recipe.number.is_multiple_of(REFUND_EVERY) {
        header.gas_used += REFUND;
    }
}

fn withdrawals(number: u64) -> Withdrawals {
    if number == 0 || !number.is_multiple_of(4) {
        return Withdrawals::default();
    }
    let one = |n| Withdrawal {
        index: number + n,
        validator_index: n,
        address: Address::repeat_byte(0x42),
        amount: 1_000 + number,
    };
    Withdrawals::new(vec![one(0), one(1)])
}

fn header(recipe: &Recipe, entropy: B256, made: &[Made], withdrawals: &Withdrawals) -> Header {
    let envelopes: Vec<_> = made.iter().map(|one| one.envelope.clone()).collect();
    let receipts: Vec<_> = made.iter().map(|one| one.receipt.clone()).collect();
    let logs_bloom = receipts.iter().fold(Bloom::ZERO, |all, receipt| all | receipt.bloom());
    Header {
        parent_hash: recipe.parent_hash,
        beneficiary: Address::repeat_byte(0xfe),
        state_root: keccak256(entropy),
        transactions_root: proofs::calculate_transaction_root(&envelopes),
        receipts_root: proofs::calculate_receipt_root(&receipts),
        logs_bloom,
        difficulty: U256::ZERO,
        number: recipe.number,
        gas_limit: GAS_LIMIT,
        timestamp: recipe.timestamp,
        extra_data: "headwater devnet".as_bytes().into(),
        mix_hash: entropy,
        nonce: B64::ZERO,
        base_fee_per_gas: Some(BASE_FEE),
        withdrawals_root: Some(proofs::calculate_withdrawals_root(withdrawals)),
        blob_gas_used: Some(made.iter().map(|one| one.blobs).sum::<u64>() * GAS_PER_BLOB),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(keccak256(recipe.parent_hash)),
        requests_hash: Some(NO_REQUESTS),
        ..Header::default()
    }
}

fn render(header: &Header, hash: B256, made: &[Made], withdrawals: &Withdrawals) -> Built {
    let mut head = json!({
        "hash": hash,
        "parentHash": header.parent_hash,
        "sha3Uncles": header.ommers_hash,
        "miner": header.beneficiary,
        "stateRoot": header.state_root,
        "transactionsRoot": header.transactions_root,
        "receiptsRoot": header.receipts_root,
        "logsBloom": header.logs_bloom,
        "difficulty": "0x0",
        "number": hex(header.number),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "extraData": header.extra_data,
        "mixHash": header.mix_hash,
        "nonce": "0x0000000000000000",
        "baseFeePerGas": hex(BASE_FEE),
        "withdrawalsRoot": header.withdrawals_root,
        "blobGasUsed": hex(header.blob_gas_used.unwrap_or_default()),
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": header.parent_beacon_block_root,
        "requestsHash": header.requests_hash,
        "size": hex(600 + made.len() as u64 * 200),
        "uncles": [],
        "withdrawals": withdrawals.iter().map(withdrawal).collect::<Vec<Value>>(),
    });
    if let (Some(hash), Some(slot), Some(object)) =
        (header.block_access_list_hash, header.slot_number, head.as_object_mut())
    {
        object.insert("blockAccessListHash".to_owned(), json!(hash));
        object.insert("slotNumber".to_owned(), hex(slot).into());
    }
    let transactions: Vec<Value> =
        made.iter().enumerate().map(|(at, one)| transaction(header, hash, at, one)).collect();
    let mut log_index = 0;
    let receipts: Vec<Value> = made
        .iter()
        .enumerate()
        .map(|(at, one)| receipt(header, hash, at, one, &mut log_index))
        .collect();
    Built::new(head, transactions, receipts)
}

fn withdrawal(withdrawal: &Withdrawal) -> Value {
    json!({
        "index": hex(withdrawal.index),
        "validatorIndex": hex(withdrawal.validator_index),
        "address": lower(withdrawal.address),
        "amount": hex(withdrawal.amount),
    })
}

fn lower(address: Address) -> String {
    format!("{address:#x}")
}

fn transaction(header: &Header, block_hash: B256, at: usize, made: &Made) -> Value {
    let tx = &made.envelope;
    let signature = tx.signature();
    let parity = u64::from(signature.v());
    let kind = u64::from(tx.ty());
    let price = tx.effective_gas_price(header.base_fee_per_gas);
    let mut value = json!({
        "blockHash": block_hash,
        "blockNumber": hex(header.number),
        "transactionIndex": hex(at as u64),
        "hash": tx.tx_hash(),
        "type": hex(kind),
        "nonce": hex(tx.nonce()),
        "from": lower(made.from),
        "to": tx.to().map(lower),
        "value": hex(tx.value()),
        "gas": hex(tx.gas_limit()),
        "gasPrice": hex(price),
        "input": tx.input(),
        "r": hex(signature.r()),
        "s": hex(signature.s()),
        "chainId": hex(tx.chain_id().unwrap_or_default()),
    });
    let mut set = |key: &str, new: Value| {
        if let Some(object) = value.as_object_mut() {
            object.insert(key.to_owned(), new);
        }
    };
    if kind == 0 {
        let v = tx.chain_id().unwrap_or_default() * 2 + 35 + parity;
        set("v", hex(v).into());
        return value;
    }
    set("v", hex(parity).into());
    set("yParity", hex(parity).into());
    let list = tx.access_list().cloned().unwrap_or_default();
    let items = list
        .iter()
        .map(|item| json!({ "address": lower(item.address), "storageKeys": item.storage_keys }));
    set("accessList", items.collect::<Vec<Value>>().into());
    if kind >= 2 {
        set("maxFeePerGas", hex(tx.max_fee_per_gas()).into());
        let tip = tx.max_priority_fee_per_gas().unwrap_or_default();
        set("maxPriorityFeePerGas", hex(tip).into());
    }
    if let Some(hashes) = tx.blob_versioned_hashes() {
        set("blobVersionedHashes", json!(hashes));
        set("maxFeePerBlobGas", hex(tx.max_fee_per_blob_gas().unwrap_or_default()).into());
    }
    if let Some(list) = tx.authorization_list() {
        let items = list.iter().map(|grant| {
            json!({
                "chainId": hex(grant.chain_id),
                "address": lower(grant.address),
                "nonce": hex(grant.nonce),
                "yParity": hex(u64::from(grant.y_parity())),
                "r": hex(grant.r()),
                "s": hex(grant.s()),
            })
        });
        set("authorizationList", items.collect::<Vec<Value>>().into());
    }
    value
}

fn receipt(
    header: &Header,
    block_hash: B256,
    at: usize,
    made: &Made,
    log_index: &mut u64,
) -> Value {
    let place = || {
        json!({
            "transactionHash": made.envelope.tx_hash(),
            "transactionIndex": hex(at as u64),
            "blockHash": block_hash,
            "blockNumber": hex(header.number),
        })
    };
    let mut logs = Vec::new();
    for log in made.receipt.logs() {
        let mut value = place();
        if let Some(object) = value.as_object_mut() {
            object.insert("address".to_owned(), lower(log.address).into());
            object.insert("topics".to_owned(), json!(log.topics()));
            object.insert("data".to_owned(), json!(log.data.data));
            object.insert("logIndex".to_owned(), hex(*log_index).into());
            object.insert("removed".to_owned(), false.into());
        }
        *log_index += 1;
        logs.push(value);
    }
    let price = made.envelope.effective_gas_price(header.base_fee_per_gas);
    let mut value = place();
    let fields = json!({
        "type": hex(u64::from(made.envelope.ty())),
        "status": "0x1",
        "from": lower(made.from),
        "to": made.envelope.to().map(lower),
        "cumulativeGasUsed": hex(made.receipt.cumulative_gas_used()),
        "gasUsed": hex(made.gas_used),
        "contractAddress": made.created.map(lower),
        "logsBloom": made.receipt.bloom(),
        "effectiveGasPrice": hex(price),
        "logs": logs,
    });
    if let (Some(object), Value::Object(fields)) = (value.as_object_mut(), fields) {
        object.extend(fields);
        if made.blobs > 0 {
            object.insert("blobGasUsed".to_owned(), hex(made.blobs * GAS_PER_BLOB).into());
            object.insert("blobGasPrice".to_owned(), "0x1".into());
        }
    }
    value
}
