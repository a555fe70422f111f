//! `layout = "legacy"`: the topics and records of the platform that Headwater replaces, so that its
//! consumers can move over one by one.
//!
//! `<prefix>mined.block.metadata`, key: the number; `<prefix>mined.txs.token.transfer`,
//! `..contract.call` and `..contract.deploy`, key: the hash. Hashes and bytes are hex without `0x`,
//! addresses (EIP-55, checksummed) and storage keys with it, values decimal text; what is missing
//! is `""` or 0, as the Python program wrote them. It knew no retractions, so none go.

use std::iter::once as one;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use headwater_storage::model::{
    AccessListItem, Address, Block, Kind, Op, Transaction, U256, Withdrawal,
};
use headwater_storage::tables::Table;
use serde_json::{Value, json};

use crate::encode::{Picked, TableRows};

use super::message::Records;

const BLOCKS: &str = "mined.block.metadata";
const KINDS: [(Kind, &str); 3] = [
    (Kind::Transfer, "mined.txs.token.transfer"),
    (Kind::Call, "mined.txs.contract.call"),
    (Kind::Deployment, "mined.txs.contract.deploy"),
];

/// A transaction with its place in the block.
type Placed<'a> = (usize, &'a Transaction);

/// The topics of a table, without the prefix.
pub(super) fn topics(table: Table) -> Vec<&'static str> {
    match table {
        Table::Blocks => vec![BLOCKS],
        Table::Transactions => KINDS.iter().map(|(_, topic)| *topic).collect(),
        Table::Logs
        | Table::Withdrawals
        | Table::Traces
        | Table::ChainEvents
        | Table::Verification => Vec::new(),
    }
}

/// The records that an event's rows of a table become, by topic.
pub(super) fn records(prefix: &str, block: &Block, rows: TableRows) -> Vec<Records> {
    let TableRows { table, head, picked, .. } = rows;
    if head.op != Op::Applied {
        return Vec::new();
    }
    let of = |topic: &str, columns, picked| {
        let topic = format!("{prefix}{topic}");
        Records { topic, table, head, columns, picked }
    };
    match table {
        Table::Blocks => {
            let key = block.header.number.to_string();
            let picked = picked.into_iter().map(|row| Picked { key: key.clone(), ..row }).collect();
            vec![of(BLOCKS, block_record(block), picked)]
        }
        Table::Transactions => {
            let mut kinds: [(Vec<Placed<'_>>, Vec<Picked>); 3] = Default::default();
            for row in picked {
                let Some(transaction) = block.transactions.get(row.at) else { continue };
                let place = KINDS.iter().position(|(kind, _)| *kind == transaction.kind());
                let Some((chosen, picked)) = place.and_then(|place| kinds.get_mut(place)) else {
                    continue;
                };
                let key = const_hex::encode(transaction.hash);
                let at = row.at;
                picked.push(Picked { at: chosen.len(), key, ..row });
                chosen.push((at, transaction));
            }
            let kinds = KINDS.iter().zip(kinds).filter(|(_, (_, picked))| !picked.is_empty());
            let records = kinds.map(|((_, topic), (chosen, picked))| {
                of(topic, transaction_records(block, &chosen), picked)
            });
            records.collect()
        }
        Table::Logs
        | Table::Withdrawals
        | Table::Traces
        | Table::ChainEvents
        | Table::Verification => Vec::new(),
    }
}

/// The columns of a table's records.
pub(super) fn columns(table: Table) -> SchemaRef {
    let nothing = Block::default();
    match table {
        Table::Blocks => block_record(&nothing).schema(),
        Table::Transactions
        | Table::Logs
        | Table::Withdrawals
        | Table::Traces
        | Table::ChainEvents
        | Table::Verification => transaction_records(&nothing, &[]).schema(),
    }
}

/// The Avro schema of a table's records, as it was registered.
pub(super) fn schema(table: Table) -> String {
    let (namespace, name) = match table {
        Table::Blocks => ("io.onchain.streamtxs.avro", "BlockClock"),
        Table::Transactions
        | Table::Logs
        | Table::Withdrawals
        | Table::Traces
        | Table::ChainEvents
        | Table::Verification => ("io.streamr.onchain", "Transaction"),
    };
    let columns = columns(table);
    let fields: Vec<Value> = columns.fields().iter().map(|field| avro_field(field)).collect();
    json!({ "namespace": namespace, "type": "record", "name": name, "fields": fields }).to_string()
}

fn avro_field(field: &Field) -> Value {
    json!({ "name": field.name(), "type": avro_type(field.name(), field.data_type()) })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "there are four kinds of columns here")]
fn avro_type(name: &str, kind: &DataType) -> Value {
    match kind {
        DataType::Int64 => json!("long"),
        DataType::List(item) => {
            json!({ "type": "array", "items": avro_type(name, item.data_type()) })
        }
        DataType::Struct(fields) => {
            let fields: Vec<Value> = fields.iter().map(|field| avro_field(field)).collect();
            let name = if name == "withdrawals" { "Withdrawal" } else { name };
            json!({ "type": "record", "name": name, "fields": fields })
        }
        _ => json!("string"),
    }
}

/// Columns that are being put together.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn add(&mut self, name: &str, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), false));
        self.arrays.push(array);
    }

    fn text(&mut self, name: &str, values: impl Iterator<Item = String>) {
        self.add(name, Arc::new(values.map(Some).collect::<StringArray>()));
    }

    fn number<N: TryInto<i64>>(&mut self, name: &str, values: impl Iterator<Item = N>) {
        let values = values.map(|value| value.try_into().unwrap_or(i64::MAX));
        self.add(name, Arc::new(Int64Array::from_iter_values(values)));
    }

    fn structs(self) -> StructArray {
        let length = self.arrays.first().map_or(0, |array| array.len());
        let fields = Fields::from(self.fields);
        StructArray::try_new(fields.clone(), self.arrays, None)
            .unwrap_or_else(|_| StructArray::new_null(fields, length))
    }

    fn batch(self) -> RecordBatch {
        let schema = Arc::new(Schema::new(self.fields));
        RecordBatch::try_new(schema.clone(), self.arrays)
            .unwrap_or_else(|_| RecordBatch::new_empty(schema))
    }
}

/// A list per row.
fn lists(lengths: impl Iterator<Item = usize>, items: ArrayRef) -> ArrayRef {
    let item = Arc::new(Field::new("item", items.data_type().clone(), false));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), items, None))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    const_hex::encode(bytes)
}

fn checksummed(address: &Address) -> String {
    address.to_checksum(None)
}

/// Hex of whole bytes, without zeros in front: web3's form of `r` and `s`.
fn shortest(number: U256) -> String {
    let bytes = number.to_be_bytes_trimmed_vec();
    if bytes.is_empty() { "00".to_owned() } else { hex(bytes) }
}

fn block_record(block: &Block) -> RecordBatch {
    let header = &block.header;
    let withdrawals: Vec<&Withdrawal> = block.withdrawals.iter().flatten().collect();
    let mut items = Columns::default();
    items.number("index", withdrawals.iter().map(|w| w.index));
    items.number("validatorIndex", withdrawals.iter().map(|w| w.validator_index));
    items.text("address", withdrawals.iter().map(|w| checksummed(&w.address)));
    items.number("amount", withdrawals.iter().map(|w| w.amount));
    let hashes = block.transactions.iter().map(|transaction| Some(hex(transaction.hash)));
    let hashes: ArrayRef = Arc::new(hashes.collect::<StringArray>());
    // Python's text of nothing.
    let total = header.total_difficulty.map_or_else(|| "None".to_owned(), |sum| sum.to_string());
    let mut columns = Columns::default();
    columns.number("number", one(header.number));
    columns.number("timestamp", one(header.time_seconds()));
    columns.text("hash", one(hex(header.hash)));
    columns.text("parentHash", one(hex(header.parent_hash)));
    columns.number("difficulty", one(header.difficulty.saturating_to::<u64>()));
    columns.text("totalDifficulty", one(total));
    columns.text("nonce", one(hex(header.nonce)));
    columns.number("size", one(header.size.unwrap_or(0)));
    columns.text("miner", one(checksummed(&header.miner)));
    columns.number("baseFeePerGas", one(header.base_fee_per_gas.unwrap_or(0)));
    columns.number("gasLimit", one(header.gas_limit));
    columns.number("gasUsed", one(header.gas_used));
    columns.text("logsBloom", one(hex(&header.logs_bloom)));
    columns.text("extraData", one(hex(&header.extra_data)));
    columns.text("transactionsRoot", one(hex(header.transactions_root)));
    columns.text("stateRoot", one(hex(header.state_root)));
    columns.add("transactions", lists(one(hashes.len()), hashes));
    columns.add("withdrawals", lists(one(withdrawals.len()), Arc::new(items.structs())));
    columns.batch()
}

fn transaction_records(block: &Block, chosen: &[Placed<'_>]) -> RecordBatch {
    let each = || chosen.iter().map(|(_, transaction)| *transaction);
    let items: Vec<&AccessListItem> = each().flat_map(|t| t.access_list.iter().flatten()).collect();
    let keys: StringArray =
        items.iter().flat_map(|item| &item.storage_keys).map(|key| Some(key.to_string())).collect();
    let mut list = Columns::default();
    list.text("address", items.iter().map(|item| checksummed(&item.address)));
    let lengths = items.iter().map(|item| item.storage_keys.len());
    list.add("storageKeys", lists(lengths, Arc::new(keys)));
    let mut columns = Columns::default();
    columns.text("blockHash", each().map(|_| hex(block.header.hash)));
    columns.number("blockNumber", each().map(|_| block.header.number));
    columns.text("hash", each().map(|t| hex(t.hash)));
    columns.number("transactionIndex", chosen.iter().map(|(at, _)| *at as u64));
    columns.text("from", each().map(|t| checksummed(&t.from)));
    columns.text("to", each().map(|t| t.to.as_ref().map_or_else(String::new, checksummed)));
    columns.text("value", each().map(|t| t.value.to_string()));
    columns.text("input", each().map(|t| hex(&t.input)));
    columns.number("gas", each().map(|t| t.gas));
    columns.number("gasPrice", each().map(|t| t.gas_price.unwrap_or(0)));
    columns.number("nonce", each().map(|t| t.nonce));
    columns.number("v", each().map(|t| t.v.unwrap_or(0)));
    columns.text("r", each().map(|t| shortest(t.r)));
    columns.text("s", each().map(|t| shortest(t.s)));
    columns.number("type", each().map(|t| t.transaction_type));
    let lengths = each().map(|t| t.access_list.as_ref().map_or(0, Vec::len));
    columns.add("accessList", lists(lengths, Arc::new(list.structs())));
    columns.batch()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::sample_batch;
    use crate::kafka::topics::Names;
    use headwater_storage::model::Lsn;

    #[test]
    fn records_have_the_old_names_and_forms_and_no_retractions() {
        let batch = sample_batch(&"test".parse().unwrap(), Lsn(1));
        let config: crate::kafka::KafkaConfig =
            toml::from_str("brokers = [\"h:1\"]\nlayout = \"legacy\"\nprefix = \"mainnet.\"")
                .unwrap();
        let names = Names::new(&config);
        let mut topics = std::collections::BTreeMap::new();
        for event in &batch.events {
            for records in names.records(&batch, event) {
                assert_eq!(records.head.op, Op::Applied);
                let block = event.block.as_ref().unwrap();
                assert_eq!(records.columns.schema(), columns(records.table));
                for picked in &records.picked {
                    let mut text = String::new();
                    crate::encode::json::write_row(&records.columns, picked.at, &mut text);
                    let value: Value = serde_json::from_str(&(text + "}")).unwrap();
                    let is_block = records.table == Table::Blocks;
                    let key = if is_block { "number" } else { "hash" };
                    assert_eq!(value[key].to_string().trim_matches('"'), picked.key);
                    let hash = if is_block { "hash" } else { "blockHash" };
                    assert_eq!(value[hash], hex(block.header.hash));
                    *topics.entry(records.topic.clone()).or_insert(0) += 1;
                }
            }
        }
        let all: Vec<&String> = topics.keys().collect();
        assert!(all.iter().all(|topic| topic.starts_with("mainnet.mined.")), "{all:?}");
        assert!(topics["mainnet.mined.block.metadata"] > 1 && topics.len() > 2, "{topics:?}");
        for table in [Table::Blocks, Table::Transactions] {
            let schema = schema(table);
            assert!(schema.contains("\"record\"") && schema.contains("\"array\""), "{schema}");
        }
    }
}
