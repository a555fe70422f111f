//! Traces against what is proved: the outermost trace of a transaction repeats it and its receipt.
//!
//! No root covers traces. What happens inside of a transaction is the word of who traced it.

use headwater_storage::model::{Block, Receipt, Trace, TraceKind, Transaction, trace_tree};

use super::Mismatch;

/// Types of transactions whose outermost trace is known to repeat them: up to EIP-7702.
const ETHEREUM_TYPES: u64 = 4;

/// Whether the traces are all below the calls that made them, and every transaction's outermost
/// one is the transaction's own. `false` where that is not known: none are there, the chain has
/// transactions of its own, or the traces are no tree.
pub fn prove(block: &Block) -> Result<bool, Mismatch> {
    if block.traces.is_empty() {
        return Ok(false);
    }
    let mut is_whole = trace_tree(&block.traces).is_some();
    let mut outermost = block.traces.iter().filter(|trace| trace.trace_address.is_empty());
    for (position, transaction) in block.transactions.iter().enumerate() {
        if block.is_outside_roots(position) {
            continue;
        }
        let at = position as u64;
        // In the order of the transactions; rewards stand between or behind.
        let trace = outermost.find(|trace| trace.transaction_index == Some(at));
        if transaction.transaction_type > ETHEREUM_TYPES {
            is_whole &= trace.is_some();
            continue;
        }
        let differs = match trace {
            Some(trace) => differing(transaction, block.receipt(position), trace),
            None => Some("place"),
        };
        if let Some(what) = differs {
            return Err(Mismatch::Trace { block: block.block_ref(), position, what });
        }
    }
    Ok(is_whole)
}

/// What the outermost trace says otherwise than its transaction.
fn differing(
    transaction: &Transaction,
    receipt: Option<&Receipt>,
    trace: &Trace,
) -> Option<&'static str> {
    let is_creation = transaction.to.is_none();
    let kind = if is_creation { TraceKind::Create } else { TraceKind::Call };
    let status = receipt.and_then(|receipt| receipt.status);
    let is_good = status.map(|status| status == 1);
    let created = receipt.and_then(|receipt| receipt.contract_address);
    let pairs = [
        (trace.kind == kind, "kind"),
        (trace.from == Some(transaction.from), "sender"),
        (is_creation || trace.to == transaction.to, "recipient"),
        (trace.value.unwrap_or_default() == transaction.value, "value"),
        (trace.input == transaction.input, "input"),
        (is_good.is_none_or(|is_good| is_good == trace.error.is_none()), "outcome"),
        (
            !is_creation || is_good != Some(true) || created.is_none() || trace.to == created,
            "created contract",
        ),
    ];
    pairs.into_iter().find(|(is_same, _)| !is_same).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};

    use super::*;

    type Lie = fn(&mut Block);

    /// A block with a call that makes a call, and a deployment.
    fn sample() -> Block {
        let (caller, contract) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let call = Transaction {
            from: caller,
            to: Some(contract),
            value: U256::from(5),
            input: vec![1, 2].into(),
            gas: 21_000,
            ..Transaction::default()
        };
        let deployment = Transaction { to: None, ..call.clone() };
        let receipt =
            |contract_address| Receipt { status: Some(1), contract_address, ..Receipt::default() };
        let outer = Trace {
            transaction_index: Some(0),
            from: Some(caller),
            to: Some(contract),
            value: Some(U256::from(5)),
            input: vec![1, 2].into(),
            ..Trace::default()
        };
        let inner = Trace { trace_address: vec![0], from: Some(contract), ..outer.clone() };
        let made = Trace {
            transaction_index: Some(1),
            kind: TraceKind::Create,
            to: Some(Address::repeat_byte(9)),
            ..outer.clone()
        };
        Block {
            transactions: vec![call, deployment],
            receipts: Some(vec![receipt(None), receipt(Some(Address::repeat_byte(9)))]),
            traces: vec![outer, inner, made],
            ..Block::default()
        }
    }

    #[test]
    fn what_the_outermost_trace_says_otherwise_is_refused_by_name() {
        assert_eq!(prove(&sample()), Ok(true));

        let lies: [(&str, Lie); 8] = [
            ("kind", |b| b.traces[0].kind = TraceKind::DelegateCall),
            ("sender", |b| b.traces[0].from = Some(Address::repeat_byte(7))),
            ("recipient", |b| b.traces[0].to = None),
            ("value", |b| b.traces[0].value = None),
            ("input", |b| b.traces[2].input = vec![1].into()),
            ("outcome", |b| b.traces[2].error = Some("out of gas".to_owned())),
            ("created contract", |b| b.traces[2].to = Some(Address::repeat_byte(8))),
            ("place", |b| drop(b.traces.pop())),
        ];
        for (expected, lie) in lies {
            let mut block = sample();
            lie(&mut block);
            let error = prove(&block).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_not_called_proved() {
        let mut block = sample();
        block.traces[1].trace_address = vec![3];
        assert_eq!(prove(&block), Ok(false), "no tree");
        let mut block = sample();
        block.transactions[1].transaction_type = 0x7e;
        block.traces[2].value = None;
        assert_eq!(prove(&block), Ok(true), "a deposit's trace is there");
        block.traces.pop();
        assert_eq!(prove(&block), Ok(false), "and here it is not");
        assert_eq!(prove(&Block::default()), Ok(false), "none");
    }
}
