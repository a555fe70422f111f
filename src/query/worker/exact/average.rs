//! `avg`, of decimals that have no room for their sum as a float.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is new is refused")]

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

/// Digits of decimals whose sum the engine keeps without wrapping around.
const SAFE_DIGITS: u8 = 57;

/// `avg`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Average {
    plain: Avg,
    signature: Signature,
}

impl Default for Average {
    fn default() -> Average {
        let signature = Signature::user_defined(Volatility::Immutable);
        Average { plain: Avg::default(), signature }
    }
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &'static str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        use DataType as D;
        let [kind] = kinds else {
            return datafusion::common::plan_err!("avg takes one value, not {}", kinds.len());
        };
        Ok(vec![match kind {
            D::Decimal256(digits, _) if *digits > SAFE_DIGITS => D::Float64,
            D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..) => {
                kind.clone()
            }
            D::Duration(_) => kind.clone(),
            D::Null => D::Float64,
            number if number.is_numeric() => D::Float64,
            other => return datafusion::common::plan_err!("avg: {other} has no average"),
        }])
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.plain.return_type(kinds)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.plain.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.plain.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.plain.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.plain.create_groups_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
