//! What a statement may look like before anything is planned: planners work by recursion over its
//! operators, and some of what they do takes time that grows with the square of their number.
#![expect(clippy::wildcard_enum_match_arm, reason = "other tokens are operators")]

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::query::QueryError;

/// Tokens of a statement.
const TOKENS_MAX: usize = 20_000;
/// Operators that stand inside of each other.
const DEPTH_MAX: usize = 400;
/// Tables, subqueries and joins.
const SELECTS_MAX: usize = 64;
/// Words after which another expression starts.
const CLAUSES: [&str; 22] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "ON",
    "JOIN",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "WITH",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "QUALIFY",
    "WINDOW",
    "VALUES",
    "USING",
];
/// Words that are operators.
const OPERATORS: [&str; 10] =
    ["AND", "OR", "NOT", "IS", "LIKE", "ILIKE", "BETWEEN", "XOR", "DIV", "SIMILAR"];

/// How large a statement is.
#[derive(Debug, Default)]
struct Size {
    tokens: usize,
    selects: usize,
    depth: usize,
}

/// Refuses what is too large to be planned.
pub(super) fn check(sql: &str, dialect: &dyn Dialect) -> Result<(), QueryError> {
    let tokens = Tokenizer::new(dialect, sql).tokenize();
    let tokens = tokens.map_err(|error| QueryError::Invalid { reason: error.to_string() })?;
    let size = size_of(&tokens);
    let too_much = |what: String, max: usize, fix: &str| {
        let what = format!("{what}, at most {max} are planned");
        Err(QueryError::Complex { what, fix: fix.to_owned() })
    };
    if size.tokens > TOKENS_MAX {
        let what = format!("has {} words and signs", size.tokens);
        return too_much(what, TOKENS_MAX, "ask in parts, or join with a list in a subquery");
    }
    if size.depth > DEPTH_MAX {
        let what = format!("has {} operators inside of each other", size.depth);
        return too_much(what, DEPTH_MAX, "for many values of one column write `IN (..)`");
    }
    if size.selects > SELECTS_MAX {
        let what = format!("has {} selects and joins", size.selects);
        return too_much(what, SELECTS_MAX, "ask in parts");
    }
    Ok(())
}

fn size_of(tokens: &[Token]) -> Size {
    let mut size = Size::default();
    // Operators in a row, one count for each open parenthesis.
    let mut rows = vec![0_usize];
    let mut open = 0;
    for token in tokens {
        match token {
            Token::Whitespace(_) | Token::EOF => continue,
            Token::LParen | Token::LBracket | Token::LBrace => {
                rows.push(0);
                open += 1;
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                reset(&mut rows, &mut open);
                // One that closes nothing is the parser's to refuse.
                if rows.len() > 1 {
                    rows.pop();
                    open -= 1;
                }
            }
            Token::Comma | Token::SemiColon => reset(&mut rows, &mut open),
            Token::Word(word)
                if is_one(word, &["SELECT", "JOIN", "UNION", "EXCEPT", "INTERSECT"]) =>
            {
                size.selects += 1;
                reset(&mut rows, &mut open);
            }
            Token::Word(word) if is_one(word, &CLAUSES) => reset(&mut rows, &mut open),
            Token::Word(word) if !is_one(word, &OPERATORS) => {}
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::HexStringLiteral(_)
            | Token::Period => {}
            _ => {
                if let Some(row) = rows.last_mut() {
                    *row += 1;
                    open += 1;
                }
            }
        }
        size.tokens += 1;
        size.depth = size.depth.max(open);
    }
    size
}

fn reset(rows: &mut [usize], open: &mut usize) {
    if let Some(row) = rows.last_mut() {
        *open -= *row;
        *row = 0;
    }
}

fn is_one(word: &Word, words: &[&str]) -> bool {
    word.quote_style.is_none() && words.iter().any(|known| known.eq_ignore_ascii_case(&word.value))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn is_refused(sql: &str) -> bool {
        matches!(check(sql, &GenericDialect {}), Err(QueryError::Complex { .. }))
    }

    #[test]
    fn what_is_deep_or_long_is_refused_and_what_people_write_is_not() {
        assert!(is_refused(&format!("select 1{}", "+1".repeat(2_000))));
        assert!(is_refused(&format!("select {}1{}", "(".repeat(500), ")".repeat(500))));
        assert!(is_refused(&format!("select 'a'{}", "||'a'".repeat(3_000))));
        assert!(is_refused(&format!("select {}1", "- ".repeat(2_000))));
        let ors = " or block_number = 2".repeat(3_000);
        assert!(is_refused(&format!("select 1 from blocks where block_number = 1{ors}")));
        assert!(is_refused(&format!("select 1 where 1 in ({})", "1,".repeat(140_000))));
        assert!(is_refused(&"select 1 union all ".repeat(100)));
        let cases = "case when a + 1 > 2 then b else c end, ".repeat(300);
        assert!(!is_refused(&format!("select {cases} 1 from blocks")));
        assert!(!is_refused(&format!("select 1 where 1 in ({}1)", "1, ".repeat(5_000))));
        assert!(!is_refused("select ')' as a, count(*) from logs -- ((((\nwhere a = 1 and b = 2"));
    }
}
