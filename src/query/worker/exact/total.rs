//! Sums in 256 bits that end in an error where there is no room, for what is wide already.
#![expect(clippy::wildcard_enum_match_arm, reason = "other types are integers")]

use std::collections::BTreeMap;

use alloy_primitives::U256;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, DecimalType, i256};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;

use crate::query::worker::uint256::{WIDTH, scalar};

const DIGITS_WIDE: u8 = 76;

fn overflow(kind: &DataType) -> ArrowError {
    ArrowError::ArithmeticOverflow(format!("the sum does not fit into {kind}"))
}

/// The values that are not null, in 256 bits.
fn values(array: &ArrayRef) -> Result<Vec<i256>> {
    let integers = match array.data_type() {
        DataType::Duration(_) => cast(array, &DataType::Int64)?,
        _ => array.clone(),
    };
    let scale = match integers.data_type() {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    let wide = cast(&integers, &DataType::Decimal256(DIGITS_WIDE, scale))?;
    Ok(wide.as_primitive::<Decimal256Type>().iter().flatten().collect())
}

/// A sum as a value of a type; an error where it has no room there.
fn value(sum: Option<i256>, kind: &DataType) -> Result<ScalarValue> {
    let no_room = || overflow(kind);
    match kind {
        DataType::Decimal128(digits, scale) => {
            let fits = |sum: &i128| {
                Decimal128Type::validate_decimal_precision(*sum, *digits, *scale).is_ok()
            };
            let narrow = |sum: i256| sum.to_i128().filter(fits);
            let sum = sum.map(|sum| narrow(sum).ok_or_else(no_room)).transpose()?;
            Ok(ScalarValue::Decimal128(sum, *digits, *scale))
        }
        DataType::Decimal256(digits, scale) => {
            if let Some(sum) = sum {
                let checked = Decimal256Type::validate_decimal_precision(sum, *digits, *scale);
                checked.map_err(|_| no_room())?;
            }
            Ok(ScalarValue::Decimal256(sum, *digits, *scale))
        }
        _ => {
            let narrow = |sum: i256| sum.to_i128().and_then(|sum| i64::try_from(sum).ok());
            let sum = sum.map(|sum| narrow(sum).ok_or_else(no_room)).transpose()?;
            ScalarValue::Int64(sum).cast_to(kind)
        }
    }
}

/// A sum, also over a window that slides.
#[derive(Debug)]
pub(super) struct Total {
    sum: i256,
    /// Values in it; without any there is no sum.
    count: u64,
    kind: DataType,
}

impl Total {
    pub(super) fn new(kind: &DataType) -> Total {
        Total { sum: i256::ZERO, count: 0, kind: kind.clone() }
    }

    fn add(&mut self, value: i256) -> Result<()> {
        self.sum = self.sum.checked_add(value).ok_or_else(|| overflow(&self.kind))?;
        self.count += 1;
        Ok(())
    }

    fn take(&mut self, value: i256) -> Result<()> {
        self.sum = self.sum.checked_sub(value).ok_or_else(|| overflow(&self.kind))?;
        self.count = self.count.saturating_sub(1);
        Ok(())
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let all = columns.first().map(values).transpose()?.unwrap_or_default();
        all.into_iter().try_for_each(|value| self.add(value))
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let all = columns.first().map(values).transpose()?.unwrap_or_default();
        all.into_iter().try_for_each(|value| self.take(value))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        value((self.count > 0).then_some(self.sum), &self.kind)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// A sum of 256-bit numbers, also over a window that slides.
#[derive(Debug, Default)]
pub(super) struct WideTotal {
    sum: U256,
    /// Values in it; without any there is no sum.
    count: u64,
}

impl WideTotal {
    fn each(
        &mut self,
        columns: &[ArrayRef],
        apply: fn(U256, U256) -> Option<U256>,
        count: fn(u64, u64) -> u64,
    ) -> Result<()> {
        let Some(column) = columns.first() else { return Ok(()) };
        for bytes in column.as_fixed_size_binary().iter().flatten() {
            let number = U256::try_from_be_slice(bytes).unwrap_or_default();
            let sum = apply(self.sum, number);
            self.sum = sum.ok_or_else(|| {
                ArrowError::ArithmeticOverflow("the sum does not fit into 256 bits".to_owned())
            })?;
            self.count = count(self.count, 1);
        }
        Ok(())
    }
}

impl Accumulator for WideTotal {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.each(columns, U256::checked_add, u64::saturating_add)
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.each(columns, U256::checked_sub, u64::saturating_sub)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::FixedSizeBinary(WIDTH, None));
        }
        Ok(scalar(self.sum))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// A sum of values that differ, also over a window that slides.
#[derive(Debug)]
pub(super) struct DistinctTotal {
    /// How often each value is there.
    values: BTreeMap<i256, u64>,
    kind: DataType,
}

impl DistinctTotal {
    pub(super) fn new(kind: &DataType) -> DistinctTotal {
        DistinctTotal { values: BTreeMap::new(), kind: kind.clone() }
    }
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in columns.first().map(values).transpose()?.unwrap_or_default() {
            *self.values.entry(value).or_default() += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in columns.first().map(values).transpose()?.unwrap_or_default() {
            if let Some(count) = self.values.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    self.values.remove(&value);
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = Total::new(&self.kind);
        self.values.keys().try_for_each(|value| total.add(*value))?;
        total.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.len() * size_of::<(i256, u64)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let one = |sum: &i256| value(Some(*sum), &self.kind);
        let values = self.values.keys().map(one).collect::<Result<Vec<_>>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.kind))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first() else { return Ok(()) };
        for list in lists.as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }
}
