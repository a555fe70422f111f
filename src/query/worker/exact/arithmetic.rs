//! `+`, `-`, `*` and the sign of integers with a check of overflow. The engine's operators wrap
//! around and have no setting for it, so that each is replaced in the plan by a function.

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::query::worker::rewrite::expressions;

/// Replaces the operators, once the types of both sides are the same.
#[derive(Debug)]
pub(super) struct Checked;

impl AnalyzerRule for Checked {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(of_plan)?.data)
    }
}

fn of_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    expressions(plan, of_expr)?.map_data(LogicalPlan::recompute_schema)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression can overflow")]
fn of_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_integer = |side: &Expr| Ok::<_, DataFusionError>(side.get_type(schema)?.is_integer());
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let kind = match op {
                Operator::Plus => Some(Kind::Add),
                Operator::Minus => Some(Kind::Subtract),
                Operator::Multiply => Some(Kind::Multiply),
                _ => None,
            };
            match kind {
                Some(kind) if is_integer(&left)? && is_integer(&right)? => {
                    Ok(Transformed::yes(kind.of(vec![*left, *right])))
                }
                _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            }
        }
        Expr::Negative(inner) if is_integer(&inner)? => {
            Ok(Transformed::yes(Kind::Negate.of(vec![*inner])))
        }
        other => Ok(Transformed::no(other)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Add,
    Subtract,
    Multiply,
    Negate,
}

impl Kind {
    fn of(self, arguments: Vec<Expr>) -> Expr {
        let function = Operation { kind: self, signature: Signature::any(arguments.len(), PURE) };
        Expr::ScalarFunction(ScalarFunction::new_udf(ScalarUDF::from(function).into(), arguments))
    }
}

const PURE: Volatility = Volatility::Immutable;

/// One checked operation, of one or two integers of the same type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Operation {
    kind: Kind,
    signature: Signature,
}

impl Operation {
    fn apply(&self, left: &dyn Datum, right: Option<&dyn Datum>) -> Result<ArrayRef, ArrowError> {
        match (self.kind, right) {
            (Kind::Add, Some(right)) => add(left, right),
            (Kind::Subtract, Some(right)) => sub(left, right),
            (Kind::Multiply, Some(right)) => mul(left, right),
            (Kind::Negate, _) => neg(left.get().0),
            (Kind::Add | Kind::Subtract | Kind::Multiply, None) => {
                Err(ArrowError::InvalidArgumentError(format!("{} takes two values", self.name())))
            }
        }
    }
}

impl ScalarUDFImpl for Operation {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Add => "checked_add",
            Kind::Subtract => "checked_subtract",
            Kind::Multiply => "checked_multiply",
            Kind::Negate => "checked_negate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let kind = arguments.first().cloned();
        kind.ok_or_else(|| DataFusionError::Plan(format!("{} takes values", self.name())))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let may_be_null = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Field::new(self.name(), self.return_type(&types)?, may_be_null).into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let values = args.args.iter().map(datum).collect::<Result<Vec<_>>>()?;
        let mut values = values.iter().map(AsRef::as_ref);
        let Some(left) = values.next() else {
            return Err(DataFusionError::Execution(format!("{} takes values", self.name())));
        };
        let result = self.apply(left, values.next())?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn datum(value: &ColumnarValue) -> Result<Box<dyn Datum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(array.clone()),
        ColumnarValue::Scalar(scalar) => Box::new(scalar.to_scalar()?),
    })
}
