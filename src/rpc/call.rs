//! The calls that capture makes, as JSON.

use std::fmt::Write as _;

use alloy_primitives::B256;
use serde_json::Value;

use super::{DEBUG_TRACE_BLOCK, TRACE_BLOCK};

/// How a block's hash is written as a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashForm {
    /// `"0x.."`.
    Text,
    /// `{"blockHash": "0x.."}`.
    Object,
}

/// One JSON-RPC call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method, also the metric's label.
    pub method: &'static str,
    params: String,
}

impl Call {
    /// `eth_chainId`.
    pub fn chain_id() -> Call {
        Call { method: "eth_chainId", params: "[]".to_owned() }
    }

    /// `eth_getBlockByNumber` with hashes only, by tag: `latest`, `finalized`.
    pub fn header(tag: &str) -> Call {
        Call { method: "eth_getBlockByNumber", params: format!("[\"{tag}\",false]") }
    }

    /// `eth_getBlockByNumber` with full transactions.
    pub fn block(number: u64) -> Call {
        Call { method: "eth_getBlockByNumber", params: format!("[\"{number:#x}\",true]") }
    }

    /// `eth_getBlockReceipts`.
    pub fn block_receipts(number: u64) -> Call {
        Call { method: "eth_getBlockReceipts", params: format!("[\"{number:#x}\"]") }
    }

    /// `eth_getBlockReceipts` by the block's hash: some nodes take nothing else, in one of two
    /// forms (EIP-1898 is the object).
    pub fn block_receipts_by_hash(hash: B256, form: HashForm) -> Call {
        let params = match form {
            HashForm::Text => format!("[\"{hash}\"]"),
            HashForm::Object => format!("[{{\"blockHash\":\"{hash}\"}}]"),
        };
        Call { method: "eth_getBlockReceipts", params }
    }

    /// `eth_getTransactionReceipt`.
    pub fn receipt(hash: B256) -> Call {
        Call { method: "eth_getTransactionReceipt", params: format!("[\"{hash}\"]") }
    }

    /// `trace_block`.
    pub fn trace_block(number: u64) -> Call {
        Call { method: TRACE_BLOCK, params: format!("[\"{number:#x}\"]") }
    }

    /// `debug_traceBlockByNumber` with go-ethereum's `callTracer`.
    pub fn debug_trace_block(number: u64) -> Call {
        let params = format!("[\"{number:#x}\",{{\"tracer\":\"callTracer\"}}]");
        Call { method: DEBUG_TRACE_BLOCK, params }
    }

    /// Any other call; `params` is a list.
    pub fn other(method: &'static str, params: &Value) -> Call {
        Call { method, params: params.to_string() }
    }

    /// The method, as a list.
    pub fn methods(&self) -> &'static [&'static str] {
        match self.method {
            "eth_chainId" => &["eth_chainId"],
            "eth_getBlockReceipts" => &["eth_getBlockReceipts"],
            "eth_getTransactionReceipt" => &["eth_getTransactionReceipt"],
            _ => &["eth_getBlockByNumber"],
        }
    }

    fn write(&self, id: usize, out: &mut String) {
        let Call { method, params } = self;
        let _infallible = write!(
            out,
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}"
        );
    }

    /// The body of one request.
    pub fn single_body(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    /// The body of a batch; ids are positions.
    pub fn batch_body(calls: &[Call]) -> String {
        let mut out = String::from("[");
        for (id, call) in calls.iter().enumerate() {
            if id > 0 {
                out.push(',');
            }
            call.write(id, &mut out);
        }
        out.push(']');
        out
    }
}
