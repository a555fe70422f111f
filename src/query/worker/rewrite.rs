//! Changes the expressions of a plan's node, under the names that they had.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Changes each expression of a node, from its leaves on; the schema is that of the node's inputs.
pub(super) fn expressions(
    plan: LogicalPlan,
    change: fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|expr| change(expr, &schema))?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })
}
