//! `sum` of integers and decimals as a decimal of 38 digits, or of 76 where the values have as
//! many.
//!
//! No number of rows that fits a disk fills it with integers, so that the engine's own
//! accumulators, which wrap around, are exact. What might fill it is summed by one that checks.
#![expect(clippy::wildcard_enum_match_arm, reason = "other types stay as they are")]

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::functions_aggregate::sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
    udaf_default_return_field,
};

use crate::query::worker::uint256::{self, is_uint256};

use super::total::{DistinctTotal, Total, WideTotal};

/// Digits of a 64-bit integer, with and without a sign.
pub(super) const SIGNED_DIGITS: u8 = 19;
pub(super) const UNSIGNED_DIGITS: u8 = 20;
/// Digits of values of which 10^18 fit into 38 digits.
const SAFE_DIGITS: u8 = 20;
/// Digits of values of which 10^18 fit into 76 digits.
const SAFE_DIGITS_WIDE: u8 = 57;
const DIGITS: u8 = 38;
const DIGITS_WIDE: u8 = 76;

/// `sum`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    plain: sum::Sum,
    signature: Signature,
}

impl Default for Sum {
    fn default() -> Sum {
        let signature = Signature::user_defined(Volatility::Immutable);
        Sum { plain: sum::Sum::default(), signature }
    }
}

/// The type that values are summed as; itself for one that has room already.
fn room(kind: &DataType) -> DataType {
    use DataType as D;
    match kind {
        D::Int8 | D::Int16 | D::Int32 | D::Int64 => D::Decimal128(SIGNED_DIGITS, 0),
        D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => D::Decimal128(UNSIGNED_DIGITS, 0),
        D::Decimal32(digits, scale) | D::Decimal64(digits, scale) => D::Decimal128(*digits, *scale),
        D::Float16 | D::Float32 | D::Null => D::Float64,
        other => other.clone(),
    }
}

/// Whether the engine's own accumulator might wrap around.
fn may_wrap(args: &AccumulatorArgs) -> bool {
    args.expr_fields.first().is_some_and(|field| match field.data_type() {
        DataType::Decimal128(digits, _) => *digits > SAFE_DIGITS,
        DataType::Decimal256(digits, _) => *digits > SAFE_DIGITS_WIDE,
        DataType::Duration(_) => true,
        _ => false,
    })
}

/// Whether 256-bit numbers are summed.
fn is_wide(args: &AccumulatorArgs) -> bool {
    *args.return_type() == uint256::KIND
}

fn wide(args: &AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
    if args.is_distinct {
        return datafusion::common::not_impl_err!(
            "sum(distinct ..) of 256-bit numbers: sum over `select distinct`"
        );
    }
    Ok(Box::new(WideTotal::default()))
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        match fields {
            [one] if is_uint256(one) => Ok(uint256::field("sum")),
            [one] if *one.data_type() == uint256::KIND => {
                datafusion::common::plan_err!(
                    "`{}` has bytes that are no number: nothing can be summed",
                    one.name()
                )
            }
            _ => udaf_default_return_field(self, fields),
        }
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let [kind] = kinds else {
            return datafusion::common::plan_err!("sum takes one value, not {}", kinds.len());
        };
        if *kind == uint256::KIND {
            return Ok(vec![kind.clone()]);
        }
        let room = room(kind);
        // What has no sum is refused in the engine's words.
        self.plain.return_type(std::slice::from_ref(&room))?;
        Ok(vec![room])
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        if kinds == [uint256::KIND] {
            return Ok(uint256::KIND);
        }
        Ok(match self.plain.return_type(kinds)? {
            DataType::Decimal128(_, scale) => DataType::Decimal128(DIGITS, scale),
            DataType::Decimal256(_, scale) => DataType::Decimal256(DIGITS_WIDE, scale),
            other => other,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_wide(&args) {
            return wide(&args);
        }
        match (may_wrap(&args), args.is_distinct) {
            (false, _) => self.plain.accumulator(args),
            (true, false) => Ok(Box::new(Total::new(args.return_type()))),
            (true, true) => Ok(Box::new(DistinctTotal::new(args.return_type()))),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if *args.return_type() == uint256::KIND {
            return Ok(vec![uint256::field("sum")]);
        }
        self.plain.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !may_wrap(&args) && !is_wide(&args) && self.plain.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.plain.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_wide(&args) {
            return wide(&args);
        }
        match (may_wrap(&args), args.is_distinct) {
            (_, true) => Ok(Box::new(DistinctTotal::new(args.return_type()))),
            (true, false) => Ok(Box::new(Total::new(args.return_type()))),
            (false, false) => self.plain.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
