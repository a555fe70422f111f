//! Which block numbers a filter leaves possible: a pure function of the filter.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not understood narrows nothing")]

use std::ops::RangeInclusive;

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

const EVERYTHING: RangeInclusive<u64> = 0..=u64::MAX;

/// Numbers that rows can have under all of the filters; never fewer than the filters allow.
pub(super) fn block_numbers(filters: &[Expr]) -> RangeInclusive<u64> {
    filters.iter().map(of_one).fold(EVERYTHING, |all, one| intersect(&all, &one))
}

fn intersect(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> RangeInclusive<u64> {
    *a.start().max(b.start())..=*a.end().min(b.end())
}

fn of_one(filter: &Expr) -> RangeInclusive<u64> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            intersect(&of_one(left), &of_one(right))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, number) = match (number(left), number(right)) {
                (None, Some(number)) if is_block_number(left) => (*op, number),
                (Some(number), None) if is_block_number(right) => {
                    let Some(swapped) = op.swap() else { return EVERYTHING };
                    (swapped, number)
                }
                _ => return EVERYTHING,
            };
            compared(op, number)
        }
        Expr::Between(between) if !between.negated && is_block_number(&between.expr) => {
            match (number(&between.low), number(&between.high)) {
                (Some(low), Some(high)) => low..=high,
                _ => EVERYTHING,
            }
        }
        _ => EVERYTHING,
    }
}

fn compared(op: Operator, number: u64) -> RangeInclusive<u64> {
    match op {
        Operator::Eq => number..=number,
        Operator::Gt => number.saturating_add(1)..=u64::MAX,
        Operator::GtEq => number..=u64::MAX,
        Operator::Lt => 0..=number.saturating_sub(1),
        Operator::LtEq => 0..=number,
        _ => EVERYTHING,
    }
}

fn is_block_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "block_number")
}

fn number(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => u64::try_from(*number).ok(),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn filters_on_the_number_narrow_and_others_do_not() {
        let number = || col("block_number");
        let range = |filter: Expr| block_numbers(&[filter]);
        assert_eq!(range(number().eq(lit(7_i64))), 7..=7);
        assert_eq!(range(lit(7_i64).lt(number())), 8..=u64::MAX);
        assert_eq!(range(number().between(lit(3_i64), lit(5_i64))), 3..=5);
        assert_eq!(range(number().gt_eq(lit(3_i64)).and(number().lt(lit(9_i64)))), 3..=8);
        assert_eq!(range(number().eq(lit(7_i64)).or(number().eq(lit(9_i64)))), EVERYTHING);
        assert_eq!(range(col("nonce").eq(lit(7_i64))), EVERYTHING);
        assert_eq!(block_numbers(&[]), EVERYTHING);
    }
}
