//! A transaction's receipt and its logs.

use alloy_primitives::{Address, B256, Bytes};
use serde::de::MapAccess;

use super::json::{JsonField, Odd, Topics, write_list};
use super::object::{Linked, Object, json_object};

json_object! {
    /// A receipt: EIP-658 status or the state root of before Byzantium, EIP-2718 type.
    Receipt, ReceiptKey, ReceiptLinks,
    stored {
        /// Gas used by the block up to and with this transaction.
        cumulative_gas_used: u64 = "cumulativeGasUsed",
        /// Gas used by this transaction.
        gas_used: u64 = "gasUsed",
        /// The contract that a deployment made.
        contract_address: Option<Address> = "contractAddress" as told,
        /// Logs in order.
        logs: Logs = "logs",
        /// Bloom filter of the logs, 256 bytes.
        logs_bloom: Bytes = "logsBloom",
        /// 1 for success, 0 for failure (EIP-658).
        status: Option<u64> = "status",
        /// State root after the transaction, before Byzantium.
        root: Option<B256> = "root" as told,
        /// Wei per gas that was paid.
        effective_gas_price: Option<u128> = "effectiveGasPrice" as told,
        /// Blob gas used (EIP-4844).
        blob_gas_used: Option<u64> = "blobGasUsed" as told,
        /// Wei per blob gas (EIP-4844).
        blob_gas_price: Option<u128> = "blobGasPrice" as told,
    }
    linked {
        /// The transaction.
        transaction_hash: B256 = "transactionHash",
        /// Its position in the block.
        transaction_index: u64 = "transactionIndex",
        /// The block.
        block_hash: B256 = "blockHash",
        /// The block's height.
        block_number: u64 = "blockNumber",
        /// Sender.
        from: Address = "from",
        /// Recipient, none for a deployment.
        to: Option<Address> = "to",
        /// EIP-2718 type.
        transaction_type: u64 = "type",
    }
}

json_object! {
    /// A log record.
    Log, LogKey, LogLinks,
    stored {
        /// The contract that emitted it.
        address: Address = "address",
        /// Hashes of what it tells.
        topics: Topics = "topics",
        /// Unindexed bytes.
        data: Bytes = "data",
        /// Position in the block.
        log_index: u64 = "logIndex",
        /// Always false in a receipt; some providers give it.
        removed: Option<bool> = "removed" as told,
    }
    linked {
        /// The transaction.
        transaction_hash: B256 = "transactionHash",
        /// Its position in the block.
        transaction_index: u64 = "transactionIndex",
        /// The block.
        block_hash: B256 = "blockHash",
        /// The block's height.
        block_number: u64 = "blockNumber",
        /// The block's time.
        block_timestamp: u64 = "blockTimestamp" as told,
    }
}

/// A receipt's logs, and while they are read the links that each claims.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    list: Vec<Log>,
    claimed: Vec<LogLinks>,
}

impl Logs {
    /// These logs.
    pub fn new(list: Vec<Log>) -> Logs {
        Logs { list, claimed: Vec::new() }
    }

    /// In order, to change.
    pub fn list_mut(&mut self) -> &mut Vec<Log> {
        &mut self.list
    }

    /// Compares what the logs claimed with where they stand, and forgets the claims:
    /// the position of the first that differs, and the field. A time that differs is kept as it
    /// was told: some providers give 0.
    pub(super) fn settle(&mut self, expected: &LogLinks) -> Option<(usize, &'static str)> {
        let claimed = std::mem::take(&mut self.claimed);
        let mut pairs = self.list.iter_mut().zip(&claimed).enumerate();
        pairs.find_map(|(at, (log, links))| {
            let is_other_time = links.block_timestamp != expected.block_timestamp
                && (log.has(LogKey::block_timestamp) || log.extra.is_some());
            if !is_other_time {
                return Some((at, log.differing(links, expected)?));
            }
            let told = LogLinks { block_timestamp: links.block_timestamp, ..expected.clone() };
            let differing = log.differing(links, &told);
            log.keep_differing(&told, expected);
            Some((at, differing?))
        })
    }
}

impl std::ops::Deref for Logs {
    type Target = [Log];
    fn deref(&self) -> &[Log] {
        &self.list
    }
}

impl PartialEq for Logs {
    fn eq(&self, other: &Logs) -> bool {
        self.list == other.list
    }
}

impl Eq for Logs {}

impl JsonField for Logs {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(Self, Odd), A::Error> {
        let read: Vec<Linked<Log>> = map.next_value()?;
        let (list, claimed) = read.into_iter().map(|log| (log.value, log.links)).unzip();
        Ok((Logs { list, claimed }, None))
    }

    /// Logs know their place from their receipt: see [`Receipt::write_json`].
    fn write(&self, out: &mut String) {
        out.push_str("[]");
    }
}

impl crate::codec::Wire for Logs {
    fn put(&self, out: &mut Vec<u8>) {
        self.list.put(out);
    }
    fn take(input: &mut crate::codec::Input<'_>) -> Result<Self, crate::codec::DecodeError> {
        Ok(Logs::new(Vec::take(input)?))
    }
}

impl Log {
    /// Writes the log as `eth_getLogs` gives it.
    pub fn write_json(&self, links: &LogLinks, out: &mut String) {
        out.push('{');
        self.write_entries(links, out);
        out.push('}');
    }
}

impl Receipt {
    /// Writes the receipt as JSON-RPC gives it.
    pub fn write_json(&self, links: &ReceiptLinks, block_timestamp: u64, out: &mut String) {
        out.push('{');
        self.write_entries(links, out);
        out.push('}');
        if self.logs.is_empty() {
            return;
        }
        let place = LogLinks {
            transaction_hash: links.transaction_hash,
            transaction_index: links.transaction_index,
            block_hash: links.block_hash,
            block_number: links.block_number,
            block_timestamp,
        };
        let mut logs = String::with_capacity(self.logs.len() * 512);
        write_list(&self.logs, &mut logs, |log, out| log.write_json(&place, out));
        *out = out.replacen("\"logs\":[]", &format!("\"logs\":{logs}"), 1);
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    /// A log with these topics, and how it is written again.
    fn again(topics: &str) -> Result<(Log, String), serde_json::Error> {
        let Linked { value, links }: Linked<Log> =
            serde_json::from_str(&format!("{{\"topics\":{topics}}}"))?;
        let mut out = String::new();
        value.write_json(&links, &mut out);
        Ok((value, out))
    }

    #[test]
    fn topics_are_given_back_as_they_came_and_no_log_has_five() {
        let topic = |byte| B256::repeat_byte(byte).to_string();
        let (one, two) = (topic(0xaa), topic(0xbb));
        let odd = two.to_uppercase().replacen("0X", "0x", 1);
        for (text, expected) in [
            ("[]".to_owned(), vec![]),
            (format!("[\"{one}\",\"{two}\"]"), vec![0xaa, 0xbb]),
            (format!("[\"{one}\",\"{odd}\"]"), vec![0xaa, 0xbb]),
            ("null".to_owned(), vec![]),
        ] {
            let (log, written) = again(&text).unwrap();
            let expected: Vec<B256> = expected.into_iter().map(B256::repeat_byte).collect();
            assert_eq!(log.topics.as_slice(), expected, "{text}");
            assert_eq!(written, format!("{{\"topics\":{text}}}"));
        }
        let five = format!("[{}]", vec![format!("\"{one}\""); 5].join(","));
        let error = again(&five).unwrap_err().to_string();
        assert!(error.contains("at most 4 topics"), "{error}");
        for wrong in ["[null]", "[7]", "[\"0xaa\"]", "\"0x\"", "{}"] {
            assert!(again(wrong).is_err(), "{wrong}");
        }
    }
}
