//! Hashes, addresses and 256-bit numbers in comparisons, as people write them: a column of bytes
//! with hex text, a 256-bit number with any number. What cannot be equal is an error and not an
//! empty answer.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not named stays as it is")]

use alloy_primitives::U256;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, InList};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Sort,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::rewrite::expressions;
use super::uint256::{self, Kind, WIDTH};

/// The form of a time without seconds.
const MINUTE: &str = "0000-00-00 00:00";

/// Reads operators while a statement is planned, before the types of both sides must fit.
#[derive(Debug)]
pub(super) struct Words;

/// A column of bytes of one length.
#[derive(Clone, Copy, Debug)]
struct Width {
    bytes: i32,
    is_number: bool,
}

fn width_of(field: &FieldRef) -> Option<Width> {
    match field.data_type() {
        DataType::FixedSizeBinary(bytes) => {
            Some(Width { bytes: *bytes, is_number: uint256::is_uint256(field) })
        }
        _ => None,
    }
}

fn width(expr: &Expr, schema: &DFSchema) -> Result<Option<Width>> {
    if matches!(expr, Expr::Literal(..)) {
        return Ok(None);
    }
    Ok(width_of(&expr.to_field(schema)?.1))
}

fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

fn arithmetic(op: &BinaryOperator) -> Option<Kind> {
    Some(match op {
        BinaryOperator::Plus => Kind::Add,
        BinaryOperator::Minus => Kind::Subtract,
        BinaryOperator::Multiply => Kind::Multiply,
        BinaryOperator::Divide => Kind::Divide,
        BinaryOperator::Modulo => Kind::Remainder,
        _ => return None,
    })
}

impl ExprPlanner for Words {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let (left, right) = (width(&raw.left, schema)?, width(&raw.right, schema)?);
        let is_number = [left, right].into_iter().flatten().any(|width| width.is_number);
        if let Some(kind) = arithmetic(&raw.op).filter(|_| is_number) {
            let sides = vec![number(raw.left, left)?, number(raw.right, right)?];
            return Ok(PlannerResult::Planned(kind.of(sides)));
        }
        let Some(op) = comparison(&raw.op) else { return Ok(PlannerResult::Original(raw)) };
        let (l, r) = match (left, right) {
            (None, None) if is_time(&raw.left, schema) || is_time(&raw.right, schema) => {
                (with_seconds(raw.left), with_seconds(raw.right))
            }
            (None, None) => return Ok(PlannerResult::Original(raw)),
            (Some(width), None) => {
                let other = fitting(raw.right, width, &raw.left, schema)?;
                (raw.left, other)
            }
            (None, Some(width)) => {
                let other = fitting(raw.left, width, &raw.right, schema)?;
                (other, raw.right)
            }
            (Some(a), Some(b)) if a.bytes == b.bytes => (raw.left, raw.right),
            (Some(a), Some(b)) if a.is_number || b.is_number => {
                (number(raw.left, left)?, number(raw.right, right)?)
            }
            (Some(a), Some(b)) => {
                return plan_err!(
                    "`{}` has {} bytes and `{}` has {}: they are never equal",
                    raw.left.schema_name(),
                    a.bytes,
                    raw.right.schema_name(),
                    b.bytes
                );
            }
        };
        let compared = BinaryExpr { left: Box::new(l), op, right: Box::new(r) };
        Ok(PlannerResult::Planned(Expr::BinaryExpr(compared)))
    }
}

/// A side of an operation as a 256-bit number.
fn number(expr: Expr, width: Option<Width>) -> Result<Expr> {
    match expr {
        Expr::Literal(value, _) => Ok(literal(of_literal(&value, "a number")?)),
        expr if width.is_some_and(|width| width.is_number) => Ok(expr),
        expr => Ok(Kind::Convert.of(vec![expr])),
    }
}

fn literal(value: ScalarValue) -> Expr {
    Expr::Literal(value, Some(FieldMetadata::from(uint256::metadata())))
}

/// What stands beside a column of bytes, in the form that the column has.
fn fitting(expr: Expr, width: Width, column: &Expr, schema: &DFSchema) -> Result<Expr> {
    let Expr::Literal(value, metadata) = expr else {
        let kind = expr.get_type(schema)?;
        return Ok(match kind {
            _ if width.is_number && kind != DataType::Null => Kind::Convert.of(vec![expr]),
            _ => expr,
        });
    };
    let name = column.schema_name().to_string();
    if width.is_number {
        return Ok(literal(of_literal(&value, &name)?));
    }
    Ok(Expr::Literal(bytes_of(value, width.bytes, &name)?, metadata))
}

/// A literal beside a 256-bit number.
fn of_literal(value: &ScalarValue, name: &str) -> Result<ScalarValue> {
    if value.is_null() {
        return Ok(ScalarValue::FixedSizeBinary(WIDTH, None));
    }
    let number = match value {
        ScalarValue::Float64(Some(float)) => uint256::of_float(*float),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::FixedSizeBinary(_, Some(bytes)) => U256::try_from_be_slice(bytes)
            .ok_or_else(|| format!("{} bytes are more than 32", bytes.len())),
        other => uint256::parse(&other.to_string()),
    };
    match number {
        Ok(number) => Ok(uint256::scalar(number)),
        Err(problem) => plan_err!("{problem}, as `{name}` is"),
    }
}

/// A literal beside bytes of one length.
fn bytes_of(value: ScalarValue, width: i32, name: &str) -> Result<ScalarValue> {
    let bytes = match &value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => {
            let bytes = text.strip_prefix("0x").and_then(|digits| const_hex::decode(digits).ok());
            let Some(bytes) = bytes else {
                return plan_err!(
                    "`{name}` has bytes, and '{text}' is no hex text: write '0x..' with two digits \
                     for each of its {width} bytes"
                );
            };
            bytes
        }
        ScalarValue::Binary(Some(bytes)) | ScalarValue::LargeBinary(Some(bytes)) => bytes.clone(),
        _ => return Ok(value),
    };
    if i32::try_from(bytes.len()) != Ok(width) {
        return plan_err!(
            "`{name}` has {width} bytes, and what it is compared with has {}: they are never equal",
            bytes.len()
        );
    }
    Ok(ScalarValue::FixedSizeBinary(width, Some(bytes)))
}

/// The same for lists and ranges, and sorting by a number's text as by the number.
#[derive(Debug)]
pub(super) struct WordLists;

impl AnalyzerRule for WordLists {
    fn name(&self) -> &'static str {
        "words_in_lists"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(of_plan)?.data)
    }
}

fn of_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    Ok(expressions(plan, of_expr)?.update_data(|plan| match plan {
        LogicalPlan::Sort(sort) => LogicalPlan::Sort(by_number(sort)),
        other => other,
    }))
}

fn of_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(cast) if cast.field.data_type().is_temporal() => {
            let expr = Box::new(with_seconds(*cast.expr));
            Ok(Transformed::yes(Expr::Cast(Cast { expr, ..cast })))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_time(&expr, schema) => {
            let (low, high) = (Box::new(with_seconds(*low)), Box::new(with_seconds(*high)));
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let Some(width) = width(&expr, schema)? else {
                return Ok(Transformed::no(Expr::InList(InList { expr, list, negated })));
            };
            let list = list.into_iter().map(|one| fitting(one, width, &expr, schema));
            let list = list.collect::<Result<Vec<_>>>()?;
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let Some(width) = width(&expr, schema)? else {
                return Ok(Transformed::no(Expr::Between(Between { expr, negated, low, high })));
            };
            let low = Box::new(fitting(*low, width, &expr, schema)?);
            let high = Box::new(fitting(*high, width, &expr, schema)?);
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_time(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|kind| matches!(kind, DataType::Timestamp(..)))
}

/// `2026-01-31 12:00` as the engine reads it.
fn with_seconds(expr: Expr) -> Expr {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), metadata) = expr else { return expr };
    let is_minute = text.len() >= MINUTE.len()
        && text.bytes().zip(MINUTE.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            b' ' => byte == b' ' || byte == b'T',
            form => byte == form,
        });
    let text = match text.split_at_checked(MINUTE.len()) {
        Some((minute, rest)) if is_minute && !rest.starts_with(':') => format!("{minute}:00{rest}"),
        Some(_) | None => text,
    };
    Expr::Literal(ScalarValue::Utf8(Some(text)), metadata)
}

/// Text of numbers sorts 10 before 9: what is sorted by it is sorted by the number.
fn by_number(mut sort: Sort) -> Sort {
    for key in &mut sort.expr {
        if is_text_of_number(&key.expr, &sort.input) {
            key.expr = Kind::Convert.of(vec![key.expr.clone()]);
        }
    }
    sort
}

fn is_text_of_number(expr: &Expr, input: &LogicalPlan) -> bool {
    match (expr, input) {
        (Expr::ScalarFunction(call), _) => call.name() == "uint256_text",
        (Expr::Alias(alias), _) => is_text_of_number(&alias.expr, input),
        (Expr::Column(column), LogicalPlan::Projection(Projection { expr, input, schema, .. })) => {
            let at = schema.maybe_index_of_column(column);
            at.and_then(|at| expr.get(at)).is_some_and(|expr| is_text_of_number(expr, input))
        }
        (Expr::Column(column), LogicalPlan::SubqueryAlias(alias)) => {
            let at = alias.schema.maybe_index_of_column(column);
            let inner = at.map(|at| alias.input.schema().qualified_field(at));
            inner.is_some_and(|inner| is_text_of_number(&Expr::Column(inner.into()), &alias.input))
        }
        (_, _) => false,
    }
}
