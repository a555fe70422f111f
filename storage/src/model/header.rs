//! A block's header with the fields that JSON-RPC puts beside it.

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};

use super::object::json_object;

json_object! {
    /// A header: yellow paper 4.4, EIP-1559, EIP-4895, EIP-4844, EIP-4788, EIP-7685,
    /// EIP-7928, EIP-7843.
    Header, HeaderKey, HeaderLinks,
    stored {
        /// Keccak-256 of the header's RLP.
        hash: B256 = "hash",
        /// The parent's hash.
        parent_hash: B256 = "parentHash",
        /// Hash of the ommers' list.
        sha3_uncles: B256 = "sha3Uncles",
        /// Fee recipient.
        miner: Address = "miner",
        /// Root of the state trie after the block.
        state_root: B256 = "stateRoot",
        /// Root of the transactions' trie.
        transactions_root: B256 = "transactionsRoot",
        /// Root of the receipts' trie.
        receipts_root: B256 = "receiptsRoot",
        /// Bloom filter of all logs, 256 bytes.
        logs_bloom: Bytes = "logsBloom",
        /// Proof of work difficulty, 0 since the merge.
        difficulty: U256 = "difficulty",
        /// Height.
        number: u64 = "number",
        /// Gas limit.
        gas_limit: u64 = "gasLimit",
        /// Gas used.
        gas_used: u64 = "gasUsed",
        /// Seconds since the epoch, or a finer unit: see [`super::micros_of`].
        timestamp: u64 = "timestamp",
        /// Free bytes of the proposer.
        extra_data: Bytes = "extraData",
        /// Mix hash, since the merge `prevRandao`.
        mix_hash: B256 = "mixHash",
        /// Proof of work nonce.
        nonce: FixedBytes<8> = "nonce",
        /// Wei per gas (EIP-1559).
        base_fee_per_gas: Option<u128> = "baseFeePerGas",
        /// Root of the withdrawals' trie (EIP-4895).
        withdrawals_root: Option<B256> = "withdrawalsRoot",
        /// Blob gas used (EIP-4844).
        blob_gas_used: Option<u64> = "blobGasUsed",
        /// Blob gas in excess of the target (EIP-4844).
        excess_blob_gas: Option<u64> = "excessBlobGas",
        /// Root of the parent beacon block (EIP-4788).
        parent_beacon_block_root: Option<B256> = "parentBeaconBlockRoot",
        /// Hash of the execution requests (EIP-7685).
        requests_hash: Option<B256> = "requestsHash",
        /// Sum of difficulties up to this block.
        total_difficulty: Option<U256> = "totalDifficulty" as told,
        /// Bytes of the block's RLP.
        size: Option<u64> = "size" as told,
        /// Hashes of the ommers.
        uncles: Vec<B256> = "uncles" as told,
    }
    learned {
        /// Hash of the block's access list (EIP-7928).
        block_access_list_hash: B256 = "blockAccessListHash",
        /// Slot of the beacon chain that the block was proposed in (EIP-7843).
        slot_number: u64 = "slotNumber",
    }
    linked {}
}
