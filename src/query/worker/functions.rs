//! Functions for values that SQL does not know: hex text and 256-bit numbers.

use std::sync::Arc;

use alloy_primitives::U256;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{AggregateUDF, Signature, Volatility};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::extremes::{Largest, Smallest};
use super::uint256::{Kind, signed};

/// Adds `to_hex0x(binary)`, `from_hex0x(text)`, `uint256(any number or text)`, and of 32 bytes
/// `uint256_text`, `uint256_double` and their signed forms `int256_text` and `int256_double`.
pub(super) fn register(context: &SessionContext) {
    for function in [
        Function::new("to_hex0x", DataType::Utf8, to_hex),
        Function::new("from_hex0x", DataType::Binary, from_hex),
        Function::new("uint256_text", DataType::Utf8, uint256_text),
        Function::new("uint256_double", DataType::Float64, uint256_double),
        Function::new("int256_text", DataType::Utf8, int256_text),
        Function::new("int256_double", DataType::Float64, int256_double),
    ] {
        context.register_udf(ScalarUDF::from(function));
    }
    context.register_udf(Kind::Convert.function());
    context.register_udaf(AggregateUDF::from(Largest::default()));
    context.register_udaf(AggregateUDF::from(Smallest::default()));
}

type Body = fn(&ArrayRef) -> Result<ArrayRef>;

/// A function of one value.
#[derive(Debug)]
struct Function {
    name: &'static str,
    returns: DataType,
    signature: Signature,
    body: Body,
}

impl Function {
    fn new(name: &'static str, returns: DataType, body: Body) -> Function {
        Function { name, returns, signature: Signature::any(1, Volatility::Immutable), body }
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Some(value) = args.args.into_iter().next() else {
            return Err(DataFusionError::Execution(format!("{} takes one value", self.name)));
        };
        let array = value.into_array(rows)?;
        Ok(ColumnarValue::Array((self.body)(&array)?))
    }
}

fn bytes(array: &ArrayRef) -> Result<BinaryArray> {
    Ok(cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
}

fn to_hex(array: &ArrayRef) -> Result<ArrayRef> {
    let text = |bytes: Option<&[u8]>| bytes.map(const_hex::encode_prefixed);
    Ok(Arc::new(bytes(array)?.iter().map(text).collect::<StringArray>()))
}

fn from_hex(array: &ArrayRef) -> Result<ArrayRef> {
    let array = cast(array, &DataType::Utf8)?;
    let mut values = Vec::with_capacity(array.len());
    for text in array.as_string::<i32>() {
        let value = text.map(const_hex::decode).transpose();
        values.push(value.map_err(|error| {
            DataFusionError::Execution(format!("from_hex0x: `{}`: {error}", text.unwrap_or("")))
        })?);
    }
    Ok(Arc::new(values.into_iter().collect::<BinaryArray>()))
}

fn number(bytes: Option<&[u8]>) -> Option<U256> {
    U256::try_from_be_slice(bytes?)
}

fn uint256_text(array: &ArrayRef) -> Result<ArrayRef> {
    let text = |bytes| number(bytes).map(|number| number.to_string());
    Ok(Arc::new(bytes(array)?.iter().map(text).collect::<StringArray>()))
}

fn uint256_double(array: &ArrayRef) -> Result<ArrayRef> {
    let double = |bytes| number(bytes).map(f64::from);
    Ok(Arc::new(bytes(array)?.iter().map(double).collect::<Float64Array>()))
}

fn int256_text(array: &ArrayRef) -> Result<ArrayRef> {
    let text = |bytes: Option<&[u8]>| signed(bytes?).map(|number| number.to_string());
    Ok(Arc::new(bytes(array)?.iter().map(text).collect::<StringArray>()))
}

fn int256_double(array: &ArrayRef) -> Result<ArrayRef> {
    let double = |bytes: Option<&[u8]>| {
        let (sign, size) = signed(bytes?)?.into_sign_and_abs();
        let size = f64::from(size);
        Some(if sign.is_negative() { -size } else { size })
    };
    Ok(Arc::new(bytes(array)?.iter().map(double).collect::<Float64Array>()))
}
