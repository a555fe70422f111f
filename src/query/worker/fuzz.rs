//! Statements made of words of SQL in any order: whatever passes the bounds is planned without an
//! overflow of the stack, in the stack that a worker has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::limits::check;
use super::serve::STACK_BYTES;
use super::session::session;
use super::tests::table;

const WORDS: [&str; 48] = [
    "select",
    "from",
    "t",
    "where",
    "value",
    "a",
    "hash",
    "n",
    "1",
    "'0x01'",
    "X'0102'",
    "1e18",
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "=",
    "<>",
    "<",
    ">=",
    "and",
    "or",
    "not",
    "in",
    "between",
    "case",
    "when",
    "then",
    "end",
    "group by",
    "order by",
    "sum",
    "max",
    "uint256_text",
    "||",
    "union all",
    "join",
    "on",
    "with x as",
    "limit 1",
    "is null",
    "exists",
    "cast(n as text)",
    "over ()",
];

#[test]
fn any_words_are_planned_or_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = session(SessionConfig::new(), Arc::new(RuntimeEnv::default())).unwrap();
    context.register_batch("t", table()).unwrap();
    let run = move || {
        let (context, runtime) = (AssertUnwindSafe(context), AssertUnwindSafe(runtime));
        bolero::check!().with_type::<Vec<u8>>().for_each(move |choices| {
            let (context, runtime) = (&context, &runtime);
            let words = choices.iter().map(|choice| WORDS[usize::from(*choice) % WORDS.len()]);
            let statement = format!("select {}", words.collect::<Vec<_>>().join(" "));
            if check(&statement, &GenericDialect {}).is_err() {
                return;
            }
            // What panics inside of the engine ends a worker, and is an error to who asked.
            let plan =
                || runtime.block_on(async { context.sql(&statement).await?.into_optimized_plan() });
            drop(catch_unwind(AssertUnwindSafe(plan)));
        });
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap();
}

#[test]
fn any_text_is_measured() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        drop(check(&String::from_utf8_lossy(bytes), &GenericDialect {}));
    });
}
