//! A block's traces: the calls, creations, self-destructs and rewards in it, whichever method told
//! them.

use alloy_primitives::{Address, B256, Bytes, U256};

use super::json::Extra;
use crate::codec::{DecodeError, Input, Wire};

/// One call, creation, self-destruct or reward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Position of the transaction in the block; none for a reward.
    pub transaction_index: Option<u64>,
    /// Where it stands among the calls of its transaction: empty for the outermost, `[0, 2]` for
    /// the third call of its first call.
    pub trace_address: Vec<u64>,
    /// What it is.
    pub kind: TraceKind,
    /// Who calls or creates; the contract that destroys itself.
    pub from: Option<Address>,
    /// Who is called; the contract that was made; who gets the rest or the reward.
    pub to: Option<Address>,
    /// Wei that moved.
    pub value: Option<U256>,
    /// Gas that it was given. Of an outermost call `debug_traceBlockByNumber` counts what the
    /// transaction itself costs in, `trace_block` does not.
    pub gas: Option<u64>,
    /// Gas that it used, counted the same way.
    pub gas_used: Option<u64>,
    /// Call data, or the code that creates.
    pub input: Bytes,
    /// What it returned, or the code that was created.
    pub output: Option<Bytes>,
    /// Why it failed, in the node's words.
    pub error: Option<String>,
    /// Unknown fields, and those of unknown kinds.
    pub extra: Extra,
}

/// What a trace is, in the words of `OpenEthereum`'s `trace_block`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceKind {
    /// `CALL`, and what a transaction does.
    #[default]
    Call,
    /// `CALLCODE`.
    CallCode,
    /// `DELEGATECALL` (EIP-7).
    DelegateCall,
    /// `STATICCALL` (EIP-214).
    StaticCall,
    /// `CREATE`, `CREATE2` (EIP-1014), and a transaction without recipient.
    Create,
    /// `SELFDESTRUCT`.
    SelfDestruct,
    /// What who made the block got, before the Merge.
    BlockReward,
    /// What who made an uncle got, before the Merge.
    UncleReward,
    /// Of a chain of its own; `extra` says what.
    Other,
}

impl TraceKind {
    const ALL: [(TraceKind, &'static str, &'static str); 9] = [
        (TraceKind::Call, "call", "call"),
        (TraceKind::CallCode, "call", "callcode"),
        (TraceKind::DelegateCall, "call", "delegatecall"),
        (TraceKind::StaticCall, "call", "staticcall"),
        (TraceKind::Create, "create", ""),
        (TraceKind::SelfDestruct, "suicide", ""),
        (TraceKind::BlockReward, "reward", "block"),
        (TraceKind::UncleReward, "reward", "uncle"),
        (TraceKind::Other, "other", ""),
    ];

    fn words(self) -> (&'static str, &'static str) {
        let found = Self::ALL.into_iter().find(|(kind, ..)| *kind == self);
        found.map_or(("other", ""), |(_, name, finer)| (name, finer))
    }

    /// `call`, `create`, `suicide`, `reward` or `other`.
    pub fn trace_type(self) -> &'static str {
        self.words().0
    }

    /// `call`, `callcode`, `delegatecall` or `staticcall`, for calls.
    pub fn call_type(self) -> Option<&'static str> {
        Some(self.words()).filter(|(name, _)| *name == "call").map(|(_, finer)| finer)
    }

    /// `block` or `uncle`, for rewards.
    pub fn reward_type(self) -> Option<&'static str> {
        Some(self.words()).filter(|(name, _)| *name == "reward").map(|(_, finer)| finer)
    }

    /// The kind of these words; `finer` is the type of a call or reward.
    pub fn from_words(name: &str, finer: Option<&str>) -> Option<TraceKind> {
        let finer = finer.unwrap_or_default();
        let is_it = |(_, a, b): &(TraceKind, &str, &str)| *a == name && *b == finer;
        Self::ALL.into_iter().find(is_it).map(|(kind, ..)| kind)
    }
}

impl Wire for TraceKind {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let number = usize::try_from(u64::take(input)?).ok();
        let found = number.and_then(|number| Self::ALL.get(number));
        found.map(|(kind, ..)| *kind).ok_or(DecodeError::Number)
    }
}

impl Wire for Trace {
    fn put(&self, out: &mut Vec<u8>) {
        self.transaction_index.put(out);
        self.trace_address.put(out);
        self.kind.put(out);
        self.from.put(out);
        self.to.put(out);
        self.value.put(out);
        self.gas.put(out);
        self.gas_used.put(out);
        self.input.put(out);
        self.output.put(out);
        self.error.put(out);
        self.extra.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok(Trace {
            transaction_index: Wire::take(input)?,
            trace_address: Wire::take(input)?,
            kind: Wire::take(input)?,
            from: Wire::take(input)?,
            to: Wire::take(input)?,
            value: Wire::take(input)?,
            gas: Wire::take(input)?,
            gas_used: Wire::take(input)?,
            input: Wire::take(input)?,
            output: Wire::take(input)?,
            error: Wire::take(input)?,
            extra: Wire::take(input)?,
        })
    }
}

/// A trace as read, with what it claims about where it stands.
#[derive(Debug, Default)]
pub struct ClaimedTrace {
    /// The trace.
    pub trace: Trace,
    /// The block that it says.
    pub block_hash: Option<B256>,
    /// The transaction that it says.
    pub transaction_hash: Option<B256>,
    /// How many calls it says that it made.
    pub subtraces: Option<u64>,
}

/// Of traces in order, for each: the calls that it made itself, and whether it and all around it
/// came to a good end. `None` where one stands below a call that is not there.
pub fn trace_tree(traces: &[Trace]) -> Option<Vec<(u64, bool)>> {
    let mut tree: Vec<(u64, bool)> = Vec::with_capacity(traces.len());
    // The traces around the one that is looked at, outermost first.
    let mut around: Vec<usize> = Vec::new();
    for (at, trace) in traces.iter().enumerate() {
        let depth = trace.trace_address.len();
        if depth > around.len() {
            return None;
        }
        around.truncate(depth);
        let mut is_good = trace.error.is_none();
        if let Some((place, parents)) = trace.trace_address.split_last() {
            let parent = *around.last()?;
            let above = traces.get(parent)?;
            let (children, is_parent_good) = tree.get_mut(parent)?;
            if above.trace_address != parents
                || above.transaction_index != trace.transaction_index
                || *place != *children
            {
                return None;
            }
            *children += 1;
            is_good &= *is_parent_good;
        }
        around.push(at);
        tree.push((0, is_good));
    }
    Some(tree)
}
