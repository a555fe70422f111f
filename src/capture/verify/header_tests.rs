//! Our rule of a header's hash against that of `alloy-consensus`, over headers of all forks.

use alloy::consensus::Header as Referee;
use alloy::primitives::{B64, Bloom};
use alloy_primitives::{Address, B256, U256, keccak256};
use headwater_storage::model::{Header, HeaderKey};

use super::header_hash;

/// London, Shanghai, Cancun (three fields), Prague, Amsterdam (two); and before them all.
const FORKS: u64 = 6;

/// Values that follow from a seed.
struct Values(B256);

impl Values {
    fn hash(&mut self) -> B256 {
        self.0 = keccak256(self.0);
        self.0
    }

    /// A number of any length, zero among them.
    fn number(&mut self) -> u64 {
        let bytes = self.hash();
        let word = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        word.checked_shr(u32::from(bytes[8]) % 72).unwrap_or(0)
    }

    fn header(&mut self, fork: u64) -> Referee {
        let mut header = Referee {
            parent_hash: self.hash(),
            ommers_hash: self.hash(),
            beneficiary: Address::from_word(self.hash()),
            state_root: self.hash(),
            transactions_root: self.hash(),
            receipts_root: self.hash(),
            logs_bloom: Bloom::repeat_byte(self.hash()[0]),
            difficulty: U256::from_be_bytes(self.hash().0) >> (self.number() % 257) as usize,
            number: self.number(),
            gas_limit: self.number(),
            gas_used: self.number(),
            timestamp: self.number(),
            extra_data: self.hash()[..(self.number() % 33) as usize].to_vec().into(),
            mix_hash: self.hash(),
            nonce: B64::from_slice(&self.hash()[..8]),
            ..Referee::default()
        };
        if fork >= 1 {
            header.base_fee_per_gas = Some(self.number());
        }
        if fork >= 2 {
            header.withdrawals_root = Some(self.hash());
        }
        if fork >= 3 {
            header.blob_gas_used = Some(self.number());
            header.excess_blob_gas = Some(self.number());
            header.parent_beacon_block_root = Some(self.hash());
        }
        if fork >= 4 {
            header.requests_hash = Some(self.hash());
        }
        if fork >= 5 {
            header.block_access_list_hash = Some(self.hash());
            header.slot_number = Some(self.number());
        }
        header
    }
}

/// The same header as ours.
fn ours(header: &Referee) -> Header {
    let mut same = Header {
        parent_hash: header.parent_hash,
        sha3_uncles: header.ommers_hash,
        miner: header.beneficiary,
        state_root: header.state_root,
        transactions_root: header.transactions_root,
        receipts_root: header.receipts_root,
        logs_bloom: header.logs_bloom.as_slice().to_vec().into(),
        difficulty: header.difficulty,
        number: header.number,
        gas_limit: header.gas_limit,
        gas_used: header.gas_used,
        timestamp: header.timestamp,
        extra_data: header.extra_data.clone(),
        mix_hash: header.mix_hash,
        nonce: header.nonce,
        base_fee_per_gas: header.base_fee_per_gas.map(u128::from),
        withdrawals_root: header.withdrawals_root,
        blob_gas_used: header.blob_gas_used,
        excess_blob_gas: header.excess_blob_gas,
        parent_beacon_block_root: header.parent_beacon_block_root,
        requests_hash: header.requests_hash,
        block_access_list_hash: header.block_access_list_hash,
        slot_number: header.slot_number,
        ..Header::default()
    };
    // As every provider gives them.
    same.set(HeaderKey::mix_hash);
    same.set(HeaderKey::nonce);
    same
}

#[test]
fn headers_of_every_fork_hash_as_the_referee_says() {
    let mut values = Values(keccak256("headers"));
    for at in 0..3_000 {
        let header = values.header(at % FORKS);
        let computed = header_hash(&ours(&header));
        assert_eq!(computed, Some(header.hash_slow()), "fork {}: {header:?}", at % FORKS);
    }
}

/// Each field is in the hash: a header in which one of them is another is another header.
#[test]
fn every_field_of_amsterdam_is_in_the_hash() {
    let mut values = Values(keccak256("fields"));
    let header = ours(&values.header(5));
    let hash = header_hash(&header);
    let access = Header { block_access_list_hash: Some(values.hash()), ..header.clone() };
    assert_ne!(header_hash(&access), hash);
    let slot = Header { slot_number: header.slot_number.map(|slot| slot ^ 1), ..header.clone() };
    assert_ne!(header_hash(&slot), hash);
    let before = Header { block_access_list_hash: None, slot_number: None, ..header };
    assert_ne!(header_hash(&before), hash);
}
