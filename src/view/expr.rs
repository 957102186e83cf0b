//! Expr: `uri~/export and time>30s and not status=init`. Grammar and meaning; docs/expressions.md is its manual.

use std::fmt;
use std::time::Duration;

use memchr::memmem::Finder;

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::duration;
use crate::entry::EntryRef;
use crate::escape;
use crate::view::field::{Cell, Field, Fields};
use crate::view::number::Number;
use crate::view::quoted;

/// How deep parentheses and `not` may be nested: no person goes further, and
/// the stack is not for clients to fill.
const DEPTH: usize = 64;

/// How many comparisons there may be: each is made for every task.
const TESTS: usize = 32;

/// With up to this many, it is quicker to look at a task than to come back to it.
const QUICK: usize = 4;

/// An expression, understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Test(Box<Test>),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    field: Field,
    operator: Operator,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Contains,
    ContainsNot,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// The longer ones first: `<` begins `<=`.
const OPERATORS: [(&str, Operator); 8] = [
    ("!=", Operator::NotEqual),
    ("!~", Operator::ContainsNot),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("~", Operator::Contains),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// What a field is compared with.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Time(Duration),
    Percent(f64),
    Text {
        text: String,
        /// The same as a number, if it was typed as one.
        number: Option<Number>,
        /// It is a text, also compared with a number.
        is_text: bool,
        search: Box<Finder<'static>>,
    },
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Percent(a), Value::Percent(b)) => a == b,
            (Value::Text { text: a, is_text: n, .. }, Value::Text { text: b, is_text: m, .. }) => a == b && n == m,
            _ => false,
        }
    }
}

/// A mistake, and its place: the `Display` is the reply.
#[derive(Debug, PartialEq)]
pub(crate) struct Invalid {
    /// What stands there; nothing at the end.
    at: String,
    why: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => write!(f, "invalid expression at the end: {}", self.why),
            at => write!(f, "invalid expression at '{}': {}", escape::echo(at), self.why),
        }
    }
}

impl Expr {
    /// Understands an expression about `fields`.
    ///
    /// # Errors
    ///
    /// What is wrong, and where.
    pub(crate) fn parse(text: &str, fields: Fields<'_>) -> Result<Expr, Invalid> {
        let mut parser = Parser { rest: text, fields, depth: 0, tests: 0 };
        let expr = parser.any()?;
        match parser.peek() {
            "" => Ok(expr),
            ")" => Err(parser.invalid("there is no ( for it")),
            _ => Err(parser.invalid("and, or, or the end is missing before it; quote a value that has blanks")),
        }
    }

    /// Whether it is evaluated in a moment.
    pub(crate) fn is_quick(&self) -> bool {
        self.tests() <= QUICK
    }

    fn tests(&self) -> usize {
        match self {
            Expr::All(exprs) | Expr::Any(exprs) => exprs.iter().map(Expr::tests).sum(),
            Expr::Not(expr) => expr.tests(),
            Expr::Test(_) => 1,
        }
    }

    /// Whether it holds for a task.
    pub(crate) fn holds(&self, task: &EntryRef<'_>, now: Moment, clearance: Clearance) -> bool {
        match self {
            Expr::All(exprs) => exprs.iter().all(|expr| expr.holds(task, now, clearance)),
            Expr::Any(exprs) => exprs.iter().any(|expr| expr.holds(task, now, clearance)),
            Expr::Not(expr) => !expr.holds(task, now, clearance),
            Expr::Test(test) => test.operator.holds(test.field.cell(task, now, clearance), &test.value),
        }
    }
}

impl Operator {
    fn holds(self, cell: Cell<'_>, value: &Value) -> bool {
        match (cell, value) {
            (Cell::Time(cell), Value::Time(value)) => self.orders(&cell, value),
            (Cell::Percent(cell), Value::Percent(value)) => self.orders(&(cell as f64), value),
            (Cell::Missing, Value::Percent(_)) => self == Operator::NotEqual,
            (Cell::Text { text: cell, shown }, Value::Text { text, number, is_text, search }) => match self {
                Operator::Contains => search.find(shown.as_bytes()).is_some(),
                Operator::ContainsNot => search.find(shown.as_bytes()).is_none(),
                Operator::Equal => is_equal(cell, text, number.as_ref()) || shown == text,
                Operator::NotEqual => !is_equal(cell, text, number.as_ref()) && shown != text,
                _ => match (number, is_text) {
                    (Some(number), _) => Number::parse(cell).is_some_and(|cell| self.orders(&cell, number)),
                    (None, true) => self.orders(cell, text.as_str()),
                    // A number is not before or after a word by how it is spelled.
                    (None, false) => Number::parse(cell).is_none() && self.orders(cell, text.as_str()),
                },
            },
            // Where there is nothing, it equals the empty text and comes in no order.
            (Cell::Missing, Value::Text { text, .. }) => match self {
                Operator::Equal | Operator::Contains => text.is_empty(),
                Operator::NotEqual | Operator::ContainsNot => !text.is_empty(),
                _ => false,
            },
            (Cell::Time(_) | Cell::Percent(_), _) | (_, Value::Time(_) | Value::Percent(_)) => false,
        }
    }

    fn orders<T: PartialOrd + ?Sized>(self, cell: &T, value: &T) -> bool {
        match self {
            Operator::Equal => cell == value,
            Operator::NotEqual => cell != value,
            Operator::Less => cell < value,
            Operator::AtMost => cell <= value,
            Operator::Greater => cell > value,
            Operator::AtLeast => cell >= value,
            Operator::Contains | Operator::ContainsNot => false,
        }
    }
}

fn is_equal(cell: &str, text: &str, number: Option<&Number>) -> bool {
    cell == text || number.is_some_and(|number| Number::parse(cell).as_ref() == Some(number))
}

/// Reads one expression from left to right.
struct Parser<'a> {
    rest: &'a str,
    fields: Fields<'a>,
    depth: usize,
    tests: usize,
}

const BLANKS: [char; 2] = [' ', '\t'];

fn ends_word(c: char) -> bool {
    BLANKS.contains(&c) || c == '(' || c == ')'
}

fn ends_name(c: char) -> bool {
    ends_word(c) || matches!(c, '=' | '!' | '~' | '<' | '>' | '"' | '\'')
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Expr, Invalid> {
        let mut exprs = vec![self.all()?];
        while self.takes_word("or") {
            exprs.push(self.all()?);
        }
        Ok(one_or(Expr::Any, exprs))
    }

    fn all(&mut self) -> Result<Expr, Invalid> {
        let mut exprs = vec![self.not()?];
        while self.takes_word("and") {
            exprs.push(self.not()?);
        }
        Ok(one_or(Expr::All, exprs))
    }

    fn not(&mut self) -> Result<Expr, Invalid> {
        let before = self.rest;
        let is_not = self.takes_word("not");
        if !is_not && self.peek() != "(" {
            return self.test();
        }
        if self.depth == DEPTH {
            self.rest = before;
            return Err(self.invalid(format!("parentheses and not may be nested {DEPTH} deep")));
        }
        self.depth += 1;
        let expr = if is_not { Expr::Not(Box::new(self.not()?)) } else { self.parentheses()? };
        self.depth -= 1;
        Ok(expr)
    }

    fn parentheses(&mut self) -> Result<Expr, Invalid> {
        self.rest = self.trimmed().strip_prefix('(').unwrap_or_default();
        let expr = self.any()?;
        match self.trimmed().strip_prefix(')') {
            Some(rest) => self.rest = rest,
            None => return Err(self.invalid("and, or, or ) is missing before it; quote a value that has blanks")),
        }
        Ok(expr)
    }

    fn test(&mut self) -> Result<Expr, Invalid> {
        if self.tests == TESTS {
            return Err(self.invalid(format!("there may be {TESTS} comparisons")));
        }
        self.tests += 1;
        let field = self.field()?;
        let operator = self.operator()?;
        let value = self.value(&field, operator)?;
        Ok(Expr::Test(Box::new(Test { field, operator, value })))
    }

    fn field(&mut self) -> Result<Field, Invalid> {
        let before = self.clone();
        let name = match self.trimmed().chars().next() {
            Some('"' | '\'') => self.quoted()?,
            _ => self.word(ends_name).to_string(),
        };
        if name.is_empty() {
            return Err(before.invalid("a column is missing: column=value, or ~ < > for =; not, and, or"));
        }
        self.fields.find(&name).map_err(|why| Invalid { at: name, why })
    }

    fn operator(&mut self) -> Result<Operator, Invalid> {
        let rest = self.trimmed();
        let found = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign));
        let (sign, operator) = found.ok_or_else(|| self.invalid("one of = != ~ !~ < <= > >= is missing before it"))?;
        if let Some(doubled) = rest[sign.len()..].chars().next().filter(|c| "=!~<>".contains(*c)) {
            return Err(Invalid { at: format!("{sign}{doubled}"), why: "use one of = != ~ !~ < <= > >=".to_string() });
        }
        self.rest = &rest[sign.len()..];
        Ok(operator)
    }

    fn value(&mut self, field: &Field, operator: Operator) -> Result<Value, Invalid> {
        let before = self.clone();
        let is_quoted = quoted::is_quoted(self.trimmed());
        let text = if is_quoted { self.quoted()? } else { self.word(ends_word).to_string() };
        if text.is_empty() && !is_quoted {
            return Err(
                before.invalid("a value is missing; quote one with blanks or parentheses, \"\" is the empty one")
            );
        }
        if field.is_time() {
            if matches!(operator, Operator::Contains | Operator::ContainsNot) {
                return Err(before.invalid(format!("{} is a duration: compare it by < <= > >=", field.name())));
            }
            let more = |why| {
                if why == duration::Invalid::Months { "; m is a minute, months and years are not taken" } else { "" }
            };
            let name = field.name();
            return duration::parse(&text).map(Value::Time).map_err(|why| {
                before.invalid(format!("{name} is a duration: 30s, 1.5 (seconds), 2m30s{}", more(why)))
            });
        }
        if *field == Field::Progress {
            let percent = text.trim_end_matches('%').parse().ok().filter(|percent: &f64| percent.is_finite());
            return match operator {
                Operator::Contains | Operator::ContainsNot => None,
                _ => percent.map(Value::Percent),
            }
            .ok_or_else(|| before.invalid("progress is in percent: progress<50"));
        }
        // An id is a name, also where it is made of digits.
        let is_text = is_quoted || field.is_id();
        let number = if is_text { None } else { Number::parse(&text) };
        let is_none = *field == Field::Parent && text.is_empty();
        let text = if field.is_id() && !is_none { before.id(text, is_quoted) } else { text };
        let search = Box::new(Finder::new(text.as_bytes()).into_owned());
        Ok(Value::Text { text, number, is_text, search })
    }

    /// The id that stands here as `text`, so that what is copied from the table means what the
    /// table shows. No id is empty: two quotes are the id of two quotes; but those of a parent say that there is none.
    fn id(&self, text: String, is_quoted: bool) -> String {
        match (is_quoted, text.as_str()) {
            (true, "") => self.trimmed()[..2].to_string(),
            (true, _) => text,
            (false, shown) => escape::parse_id(shown).unwrap_or(text),
        }
    }

    fn clone(&self) -> Self {
        Parser { rest: self.rest, fields: self.fields, depth: self.depth, tests: self.tests }
    }

    fn trimmed(&self) -> &'a str {
        self.rest.trim_start_matches(BLANKS)
    }

    /// What stands here: a parenthesis, or all up to the next blank or parenthesis.
    fn peek(&self) -> &'a str {
        let rest = self.trimmed();
        match rest.find(ends_word) {
            Some(0) => &rest[..1],
            end => &rest[..end.unwrap_or(rest.len())],
        }
    }

    fn invalid(&self, why: impl Into<String>) -> Invalid {
        Invalid { at: self.peek().to_string(), why: why.into() }
    }

    fn word(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let rest = self.trimmed();
        let (word, rest) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        self.rest = rest;
        word
    }

    /// Takes `keyword`, in any case, if it is what stands here.
    fn takes_word(&mut self, keyword: &str) -> bool {
        let rest = self.trimmed();
        let is_it = rest.get(..keyword.len()).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
            && rest[keyword.len()..].chars().next().is_none_or(ends_word);
        if is_it {
            self.rest = &rest[keyword.len()..];
        }
        is_it
    }

    /// A text between quotes.
    fn quoted(&mut self) -> Result<String, Invalid> {
        let (text, rest) = quoted::take(self.trimmed()).map_err(|fault| self.invalid(fault.to_string()))?;
        self.rest = rest;
        Ok(text)
    }
}

/// `wrap` of several, or the one there is.
fn one_or(wrap: impl FnOnce(Vec<Expr>) -> Expr, mut exprs: Vec<Expr>) -> Expr {
    match exprs.len() {
        1 => exprs.swap_remove(0),
        _ => wrap(exprs),
    }
}

#[cfg(test)]
mod tests;
