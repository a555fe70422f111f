//! `min` and `max` that keep what a column's bytes mean: the largest of 256-bit numbers is one.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
    StatisticsArgs, udaf_default_return_field,
};

use super::uint256::{field, is_uint256};

macro_rules! extreme {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Default, PartialEq, Eq, Hash)]
        pub(super) struct $name($inner);

        impl AggregateUDFImpl for $name {
            fn name(&self) -> &str {
                self.0.name()
            }

            fn signature(&self) -> &Signature {
                self.0.signature()
            }

            fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
                self.0.return_type(kinds)
            }

            fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
                match fields {
                    [one] if is_uint256(one) => Ok(field(self.name())),
                    _ => udaf_default_return_field(self, fields),
                }
            }

            fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
                self.0.accumulator(args)
            }

            fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
                self.0.state_fields(args)
            }

            fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
                self.0.groups_accumulator_supported(args)
            }

            fn create_groups_accumulator(
                &self,
                args: AccumulatorArgs,
            ) -> Result<Box<dyn GroupsAccumulator>> {
                self.0.create_groups_accumulator(args)
            }

            fn create_sliding_accumulator(
                &self,
                args: AccumulatorArgs,
            ) -> Result<Box<dyn Accumulator>> {
                self.0.create_sliding_accumulator(args)
            }

            fn is_descending(&self) -> Option<bool> {
                self.0.is_descending()
            }

            fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
                self.0.coerce_types(kinds)
            }

            fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
                self.0.value_from_stats(args)
            }

            fn order_sensitivity(&self) -> AggregateOrderSensitivity {
                self.0.order_sensitivity()
            }

            fn reverse_expr(&self) -> ReversedUDAF {
                self.0.reverse_expr()
            }

            fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
                self.0.set_monotonicity(kind)
            }
        }
    };
}

extreme!(
    /// `max`.
    Largest,
    Max
);
extreme!(
    /// `min`.
    Smallest,
    Min
);
