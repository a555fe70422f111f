//! Methods that clients ask nodes for, and why they are not answered here.

use super::error::CallError;

/// Read or run code over accounts and storage.
const OF_STATE: [&str; 19] = [
    "eth_call",
    "eth_callMany",
    "eth_createAccessList",
    "eth_estimateGas",
    "eth_getAccount",
    "eth_getBalance",
    "eth_getCode",
    "eth_getProof",
    "eth_getStorageAt",
    "eth_getStorageValues",
    "eth_getTransactionCount",
    "eth_simulateV1",
    "trace_call",
    "trace_callMany",
    "trace_rawTransaction",
    "trace_replayBlockTransactions",
    "trace_replayTransaction",
    "debug_traceCall",
    "debug_traceCallMany",
];
/// Send or sign.
const OF_SENDERS: [&str; 9] = [
    "eth_sendRawTransaction",
    "eth_sendRawTransactionConditional",
    "eth_sendRawTransactionSync",
    "eth_sendTransaction",
    "eth_sign",
    "eth_signTransaction",
    "eth_signTypedData",
    "eth_signTypedData_v4",
    "personal_sign",
];

/// Why a method is not answered.
pub(super) fn refusal(method: &str) -> CallError {
    let shown: String = method.chars().take(80).collect();
    match method {
        _ if OF_STATE.contains(&method) => CallError::NoState,
        _ if OF_SENDERS.contains(&method) => CallError::SendsNothing,
        "eth_newPendingTransactionFilter" | "eth_pendingTransactions" => CallError::NothingPending,
        _ if method.starts_with("txpool_") => CallError::NothingPending,
        _ if method.starts_with("debug_") => CallError::Debug { method: shown },
        _ => CallError::Method { method: shown },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_there_is_not() {
        for (method, words) in [
            ("eth_call", "needs a node with state"),
            ("eth_sendRawTransaction", "sends no transactions"),
            ("eth_newPendingTransactionFilter", "no pending transactions"),
            ("txpool_content", "no pending transactions"),
            ("debug_traceBlockByNumber", "trace_block"),
            ("eth_nothing", "only what is captured"),
        ] {
            assert!(refusal(method).to_string().contains(words), "{method}");
        }
    }
}
