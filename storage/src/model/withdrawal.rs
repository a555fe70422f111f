//! A validator's withdrawal (EIP-4895).

use alloy_primitives::Address;

use super::object::json_object;

json_object! {
    /// A withdrawal pushed by the beacon chain.
    Withdrawal, WithdrawalKey, WithdrawalLinks,
    stored {
        /// Number of the withdrawal since genesis.
        index: u64 = "index",
        /// The validator's number.
        validator_index: u64 = "validatorIndex",
        /// Who receives it.
        address: Address = "address",
        /// Gwei.
        amount: u64 = "amount",
    }
    linked {}
}
