//! What is wrong with an expression, where, and what was probably meant.

use std::fmt;

/// Why an expression could not be understood. Its text draws the expression with the place marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The expression, control characters replaced.
    pub expression: String,
    /// Where, in characters from 1; one more than there are if something is missing at the end.
    pub column: usize,
    /// How many characters are wrong, at least 1.
    pub width: usize,
    /// What is wrong there, in a sentence without its point.
    pub message: String,
    /// What was probably meant instead, if that can be guessed.
    pub suggestion: Option<String>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "filter, column {}: {}", self.column, self.message)?;
        let (mut from, mut to) = (0, self.expression.chars().count());
        let at = self.column.saturating_sub(1);
        // Of a long expression only the surroundings are shown, so that the mark stays in sight.
        if to > WIDEST_EXPRESSION {
            from = at.saturating_sub(WIDEST_EXPRESSION / 2);
            to = from + WIDEST_EXPRESSION;
        }
        let shown: String = self.expression.chars().skip(from).take(to - from).collect();
        let width = self.width.clamp(1, WIDEST_EXPRESSION);
        writeln!(f, "  {shown}")?;
        write!(f, "  {:at$}{:^<width$}", "", "", at = at - from)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

const WIDEST_EXPRESSION: usize = 76;
