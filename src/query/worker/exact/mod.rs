//! Integers that are exact or an error: the engine's own arithmetic and sums of 64 bits wrap around
//! silently.

mod arithmetic;
mod average;
mod sum;
mod total;

use std::sync::Arc;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::AggregateUDF;

/// Puts checked arithmetic and exact sums in place of the engine's.
pub(super) fn register(context: &SessionContext) {
    context.register_udaf(AggregateUDF::from(sum::Sum::default()));
    context.register_udaf(AggregateUDF::from(average::Average::default()));
    context.add_analyzer_rule(Arc::new(arithmetic::Checked));
}

#[cfg(test)]
mod tests;
