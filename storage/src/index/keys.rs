//! Keys and values as bytes, ordered so that a scan gives what a reader wants.

use alloy_primitives::Address;

use crate::model::{Block, Lsn};

/// A transaction's place: a record of the log, and the position in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The record.
    pub lsn: Lsn,
    /// Position in the block.
    pub at: u32,
}

impl Place {
    pub(super) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (lsn, at) = bytes.split_at_mut(8);
        lsn.copy_from_slice(&self.lsn.0.to_be_bytes());
        at.copy_from_slice(&self.at.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Place> {
        let (lsn, at) = bytes.split_first_chunk::<8>()?;
        let at = at.try_into().ok()?;
        Some(Place { lsn: Lsn(u64::from_be_bytes(*lsn)), at: u32::from_be_bytes(at) })
    }
}

pub(super) fn read_lsn(bytes: &[u8]) -> Option<Lsn> {
    bytes.try_into().ok().map(|bytes| Lsn(u64::from_be_bytes(bytes)))
}

/// How an address took part in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// It sent it.
    From = 0,
    /// It received it.
    To = 1,
    /// It was deployed by it.
    Created = 2,
}

impl Role {
    /// `from`, `to` or `created`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::From => "from",
            Role::To => "to",
            Role::Created => "created",
        }
    }
}

/// An address in a transaction. Its key sorts newest first within an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The address.
    pub address: Address,
    /// The block's height.
    pub block_number: u64,
    /// The transaction's position.
    pub transaction_index: u32,
    /// The part it took.
    pub role: Role,
}

impl Touch {
    /// The addresses of a transaction: sender, recipient, deployed contract.
    pub(super) fn of(block: &Block, at: usize) -> impl Iterator<Item = Touch> {
        let transaction = block.transactions.get(at);
        let created = block.receipt(at).and_then(|receipt| receipt.contract_address);
        let touch = move |address, role| Touch {
            address,
            block_number: block.header.number,
            transaction_index: at as u32,
            role,
        };
        let from = transaction.map(|transaction| touch(transaction.from, Role::From));
        let to = transaction.and_then(|transaction| transaction.to);
        let to = to.map(|address| touch(address, Role::To));
        let created = created.map(|address| touch(address, Role::Created));
        [from, to, created].into_iter().flatten()
    }

    pub(super) fn key(&self) -> [u8; 33] {
        let mut key = [0; 33];
        let (address, rest) = key.split_at_mut(20);
        let (number, rest) = rest.split_at_mut(8);
        let (index, role) = rest.split_at_mut(4);
        address.copy_from_slice(self.address.as_slice());
        number.copy_from_slice(&(!self.block_number).to_be_bytes());
        index.copy_from_slice(&(!self.transaction_index).to_be_bytes());
        role.copy_from_slice(&[self.role as u8]);
        key
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Touch> {
        let (address, rest) = key.split_first_chunk::<20>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (index, role) = rest.split_first_chunk::<4>()?;
        let roles = [Role::From, Role::To, Role::Created];
        Some(Touch {
            address: Address::from(*address),
            block_number: !u64::from_be_bytes(*number),
            transaction_index: !u32::from_be_bytes(*index),
            role: *roles.get(usize::from(*role.first()?))?,
        })
    }

    /// The keys of an address for blocks before `before`; there are none before block 0.
    pub(super) fn range(address: Address, before: u64) -> Option<([u8; 33], [u8; 33])> {
        let (mut from, mut to) = ([0; 33], [0xff; 33]);
        let first = (!before.checked_sub(1)?).to_be_bytes();
        let start = address.as_slice().iter().chain(&first);
        from.iter_mut().zip(start).for_each(|(place, byte)| *place = *byte);
        to.iter_mut().zip(address.as_slice()).for_each(|(place, byte)| *place = *byte);
        Some((from, to))
    }
}
