//! What a chain is made of: blocks with everything in them, and the events that happen to blocks.

mod block;
mod branches;
mod chain;
mod date;
mod event;
mod exact;
mod header;
pub mod json;
mod learned;
mod object;
mod origin;
mod ranges;
mod receipt;
mod scalar;
mod time;
mod trace;
mod trace_json;
mod trace_text;
mod transaction;
mod transaction_lists;
mod verified;
mod withdrawal;

pub use alloy_primitives::{Address, B256, Bytes, U256};
pub use block::{Block, BlockParts, LinkError};
pub use branches::Branches;
pub use chain::{BlockRange, BlockRef, ChainName, ChainNameError, Lane, Lsn};
pub use date::{date_of, date_text, parse_date};
pub use event::{ChainEvent, EventHead, Op, OwnedEvent};
pub use header::{Header, HeaderKey, HeaderLinks};
pub use json::{Extra, Topics};
pub use learned::Learned;
pub use object::{Linked, Object, restore_extra};
pub use origin::{Origin, PROVIDER_BYTES_MAX, Provider};
pub use ranges::BlockRanges;
pub use receipt::{Log, LogKey, LogLinks, Logs, Receipt, ReceiptKey, ReceiptLinks};
pub use time::{micros_of, seconds_of};
pub use trace::{ClaimedTrace, Trace, TraceKind, trace_tree};
pub use trace_json::{read_call_frames, read_trace_block};
pub use transaction::{
    AccessListItem, Authorization, Kind, Transaction, TransactionKey, TransactionLinks,
};
pub use verified::Verified;
pub use withdrawal::{Withdrawal, WithdrawalKey, WithdrawalLinks};

#[cfg(test)]
mod odd_tests;
#[cfg(test)]
mod trace_tests;
