//! 256-bit numbers: 32 big-endian bytes, marked in the column's metadata. As bytes they compare as
//! the numbers do, so that filters, joins, sorting and pruning need nothing of their own.
#![expect(clippy::wildcard_enum_match_arm, reason = "other types are numbers as text")]

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{I256, U256};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use headwater_storage::tables::{TYPE_KEY, TYPE_UINT256};

pub(super) const WIDTH: i32 = 32;
pub(super) const KIND: DataType = DataType::FixedSizeBinary(WIDTH);

/// Whether a column holds 256-bit numbers.
pub(super) fn is_uint256(field: &Field) -> bool {
    field.metadata().get(TYPE_KEY).is_some_and(|kind| kind == TYPE_UINT256)
}

/// The metadata of such a column.
pub(super) fn metadata() -> HashMap<String, String> {
    HashMap::from([(TYPE_KEY.to_owned(), TYPE_UINT256.to_owned())])
}

/// A column of such numbers.
pub(super) fn field(name: &str) -> FieldRef {
    Field::new(name, KIND, true).with_metadata(metadata()).into()
}

/// A number as a value.
pub(super) fn scalar(number: U256) -> ScalarValue {
    ScalarValue::FixedSizeBinary(WIDTH, Some(number.to_be_bytes_vec()))
}

/// A decimal number, or a hexadecimal one behind `0x`.
pub(super) fn parse(text: &str) -> Result<U256, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) if !digits.is_empty() => U256::from_str_radix(digits, 16),
        Some(_) => return Err(format!("`{text}` has no digits behind 0x")),
        None if text.is_empty() => return Err("an empty text is no number".to_owned()),
        None => U256::from_str_radix(text, 10),
    };
    number.map_err(|_| format!("`{text}` is no whole number from 0 to 2^256-1"))
}

/// A float that stands for exactly one whole number, as 1e18 does.
pub(super) fn of_float(float: f64) -> Result<U256, String> {
    // Fifteen digits survive on the way from text to a float; more may have been changed there.
    let text = format!("{float:.0}");
    let digits = text.trim_end_matches('0').len();
    if float.fract() == 0.0 && float >= 0.0 && digits <= 15 {
        return parse(&text);
    }
    Err(format!("{float} is not exact or not whole: write the number as text, such as '1000'"))
}

/// The numbers of an array of another type.
fn numbers(array: &ArrayRef) -> Result<Vec<Option<U256>>> {
    let wrong = |text: String| DataFusionError::Execution(format!("uint256: {text}"));
    match array.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            let bytes = cast(array, &DataType::Binary)?;
            let number = |bytes: Option<&[u8]>| match bytes {
                None => Ok(None),
                Some(bytes) => {
                    let number = U256::try_from_be_slice(bytes);
                    let too_long = || wrong(format!("{} bytes are more than 32", bytes.len()));
                    number.map(Some).ok_or_else(too_long)
                }
            };
            bytes.as_binary::<i32>().iter().map(number).collect()
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let floats = cast(array, &DataType::Float64)?;
            let floats = floats.as_primitive::<arrow::datatypes::Float64Type>();
            floats.iter().map(|float| float.map(of_float).transpose().map_err(wrong)).collect()
        }
        _ => {
            let texts = cast(array, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            texts.iter().map(|text| text.map(parse).transpose().map_err(wrong)).collect()
        }
    }
}

fn array_of(numbers: impl Iterator<Item = Option<U256>>) -> Result<ArrayRef> {
    let bytes = numbers.map(|number| number.map(|number| number.to_be_bytes::<32>()));
    let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, WIDTH)?;
    Ok(Arc::new(array))
}

/// What becomes of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A number of another type, or of text.
    Convert,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Kind {
    /// A call of it.
    pub(super) fn of(self, arguments: Vec<Expr>) -> Expr {
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(self.function()), arguments))
    }

    pub(super) fn function(self) -> ScalarUDF {
        let count = if self == Kind::Convert { 1 } else { 2 };
        let signature = Signature::any(count, Volatility::Immutable);
        ScalarUDF::from(Operation { kind: self, signature })
    }

    fn apply(self, left: U256, right: U256) -> Result<U256, ArrowError> {
        let result = match self {
            Kind::Convert => Some(left),
            Kind::Add => left.checked_add(right),
            Kind::Subtract => left.checked_sub(right),
            Kind::Multiply => left.checked_mul(right),
            Kind::Divide | Kind::Remainder if right.is_zero() => {
                return Err(ArrowError::DivideByZero);
            }
            Kind::Divide => left.checked_div(right),
            Kind::Remainder => left.checked_rem(right),
        };
        result.ok_or_else(|| {
            let what = format!("{left} {} {right} is not from 0 to 2^256-1", self.sign());
            ArrowError::ArithmeticOverflow(what)
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Kind::Convert => "as",
            Kind::Add => "+",
            Kind::Subtract => "-",
            Kind::Multiply => "*",
            Kind::Divide => "/",
            Kind::Remainder => "%",
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Operation {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Operation {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Convert => "uint256",
            Kind::Add => "uint256_add",
            Kind::Subtract => "uint256_subtract",
            Kind::Multiply => "uint256_multiply",
            Kind::Divide => "uint256_divide",
            Kind::Remainder => "uint256_remainder",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(KIND)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(field(self.name()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let mut columns = Vec::new();
        for value in args.args {
            columns.push(numbers(&value.into_array(rows)?)?);
        }
        let none = vec![Some(U256::ZERO); rows];
        let left = columns.first().unwrap_or(&none);
        let right = columns.get(1).unwrap_or(&none);
        let apply = |(left, right): (&Option<U256>, &Option<U256>)| match (left, right) {
            (Some(left), Some(right)) => self.kind.apply(*left, *right).map(Some),
            (_, _) => Ok(None),
        };
        let results = left.iter().zip(right).map(apply).collect::<Result<Vec<_>, _>>()?;
        let array = array_of(results.into_iter())?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// 32 bytes as a signed number (two's complement), as Solidity's `int256` is.
pub(super) fn signed(bytes: &[u8]) -> Option<I256> {
    U256::try_from_be_slice(bytes).map(I256::from_raw)
}
