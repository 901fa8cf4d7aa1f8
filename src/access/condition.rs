//! Conditions of grants: expressions in CEL over who asks, for what, from where and when.
//!
//! | variable     | is                                                             |
//! |--------------|----------------------------------------------------------------|
//! | `user`       | the user's name                                                |
//! | `database`   | the database's name                                            |
//! | `collection` | the collection's name, or `*`                                  |
//! | `address`    | the client's IP address, without the port                      |
//! | `time`       | the time of day in UTC, `HH:MM`: `time >= "08:00"`             |
//! | `weekday`    | 1 (Monday) to 7 in UTC                                         |
//!
//! An expression has no loops, so its cost is bounded by its length; one that does not give true or false when it is
//! asked counts as false.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, IdedExpr, Program, Value};

use crate::state::limits::MAX_CONDITION_BYTES;

const VARIABLES: [&str; 6] = ["user", "database", "collection", "address", "time", "weekday"];
/// The parser and the evaluation go as deep as an expression is nested.
const DEPTH_MAX: usize = 32;
const DAY_S: u64 = 86_400;

/// Why an expression cannot be a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a condition has at most {MAX_CONDITION_BYTES} bytes")]
    Long,
    #[error("nested deeper than {DEPTH_MAX}")]
    Deep,
    #[error("{0}")]
    Syntax(String),
    #[error("there is no variable {0}; there are user, database, collection, address, time, weekday")]
    Variable(String),
    #[error("loops (all, exists, map, filter) are not for conditions")]
    Loop,
    #[error("does not give true or false: {0}")]
    NotBool(String),
}

/// A compiled condition.
pub struct Condition {
    source: Box<str>,
    program: Program,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Condition({})", self.source)
    }
}

/// The values of the variables.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    pub user: &'a str,
    pub database: &'a str,
    pub collection: &'a str,
    pub address: &'a str,
    pub at: SystemTime,
}

impl Condition {
    /// Compiles an expression and tries it once, so that one that can never hold is found when it is set.
    pub fn compile(source: &str) -> Result<Condition, Error> {
        if source.len() > MAX_CONDITION_BYTES {
            return Err(Error::Long);
        }
        if nesting(source) > DEPTH_MAX {
            return Err(Error::Deep);
        }
        // The library's parser is a stranger, and its input comes from people.
        let parsed = catch_unwind(AssertUnwindSafe(|| Program::compile(source)));
        let program = match parsed {
            Ok(Ok(program)) => program,
            Ok(Err(error)) => return Err(Error::Syntax(error.to_string())),
            Err(_) => return Err(Error::Syntax("cannot be parsed".into())),
        };
        check(program.expression(), 0)?;
        let variables: Vec<String> = program.references().variables().into_iter().map(str::to_owned).collect();
        if let Some(name) = variables.into_iter().find(|name| !VARIABLES.contains(&name.as_str())) {
            return Err(Error::Variable(name));
        }
        let condition = Condition { source: source.into(), program };
        let example = Circumstances { user: "a", database: "b", collection: "c", address: "::1", at: UNIX_EPOCH };
        match condition.evaluate(&example) {
            Ok(Value::Bool(_)) => Ok(condition),
            Ok(other) => Err(Error::NotBool(format!("{other:?}"))),
            Err(why) => Err(Error::NotBool(why)),
        }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn holds(&self, circumstances: &Circumstances<'_>) -> bool {
        match self.evaluate(circumstances) {
            Ok(Value::Bool(holds)) => holds,
            Ok(_) => false,
            Err(why) => {
                tracing::debug!(condition = %self.source, why, "a condition cannot be evaluated, so it does not hold");
                false
            }
        }
    }

    fn evaluate(&self, circumstances: &Circumstances<'_>) -> Result<Value, String> {
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context(circumstances))));
        match evaluated {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the evaluation broke off".into()),
        }
    }
}

fn context<'a>(circumstances: &Circumstances<'_>) -> Context<'a, 'a> {
    static ENVIRONMENT: std::sync::LazyLock<Arc<Env>> = std::sync::LazyLock::new(|| Arc::new(Env::stdlib()));
    let mut context = Context::with_env(ENVIRONMENT.clone());
    let Circumstances { user, database, collection, address, at } = circumstances;
    for (name, text) in [("user", user), ("database", database), ("collection", collection), ("address", address)] {
        context.add_variable_from_value(name, Value::from((*text).to_owned()));
    }
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let minute = seconds % DAY_S / 60;
    context.add_variable_from_value("time", Value::from(format!("{:02}:{:02}", minute / 60, minute % 60)));
    // The first day of 1970 was a Thursday.
    let weekday = (seconds / DAY_S + 3) % 7 + 1;
    context.add_variable_from_value("weekday", Value::Int(weekday.cast_signed()));
    context
}

/// How deep brackets and operators before an operand can nest a text: looked at before the parser is, which goes as
/// deep by itself.
fn nesting(source: &str) -> usize {
    let (mut open, mut deepest, mut prefixes) = (0_usize, 0, 0_usize);
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '!' | '-' | '?' => prefixes += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest.max(prefixes)
}

fn check(expression: &IdedExpr, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX * 4 {
        return Err(Error::Deep);
    }
    match &expression.expr {
        Expr::Comprehension(_) => Err(Error::Loop),
        Expr::Call(call) => {
            let mut parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
            parts.try_for_each(|part| check(part, depth + 1))
        }
        Expr::Select(select) => check(&select.operand, depth + 1),
        Expr::List(list) => list.elements.iter().try_for_each(|part| check(part, depth + 1)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => check(&entry.key, depth + 1).and_then(|()| check(&entry.value, depth + 1)),
            EntryExpr::StructField(field) => check(&field.value, depth + 1),
        }),
        Expr::Struct(_) => Err(Error::Syntax("there are no types to make values of".into())),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tuesday, 2023-11-14, 22:13:20 UTC.
    const AT_S: u64 = 1_700_000_000;

    fn holds(source: &str) -> bool {
        let condition = Condition::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(condition.source(), source);
        condition.holds(&Circumstances {
            user: "alice",
            database: "sales",
            collection: "orders",
            address: "10.1.2.3",
            at: UNIX_EPOCH + Duration::from_secs(AT_S),
        })
    }

    #[test]
    fn every_variable_and_the_usual_operators() {
        for source in [
            "true",
            "user == 'alice'",
            "user in ['bob', 'alice'] && database != 'hr'",
            "collection.startsWith('ord')",
            "address.startsWith('10.1.')",
            "time >= '22:00' && time < '22:14'",
            "weekday == 2",
            "weekday <= 5 ? time > '08:00' : false",
        ] {
            assert!(holds(source), "{source}");
        }
        for source in ["false", "user == 'bob'", "time < '08:00'", "weekday > 5", "!(database == 'sales')"] {
            assert!(!holds(source), "{source}");
        }
    }

    #[test]
    fn what_cannot_be_a_condition_is_refused_when_it_is_set() {
        let refused = |source: &str| Condition::compile(source).map(|_| ()).unwrap_err();
        for source in ["", "user ==", "user = 'a'", "((", "'a", "@"] {
            assert!(matches!(refused(source), Error::Syntax(_)), "{source}: {:?}", refused(source));
        }
        assert_eq!(refused("usr == 'a'"), Error::Variable("usr".into()));
        for source in ["user", "1 + 1", "user + 1 == 2", "nonsense(user)", "user.nonsense()"] {
            assert!(matches!(refused(source), Error::NotBool(_)), "{source}: {:?}", refused(source));
        }
        assert_eq!(refused("[1, 2].all(x, x > 0)"), Error::Loop);
        assert_eq!(refused(&format!("user == '{}'", "x".repeat(1024))), Error::Long);
        assert_eq!(refused(&format!("{}true{}", "(".repeat(100), ")".repeat(100))), Error::Deep);
        assert_eq!(refused(&format!("{}true", "!".repeat(100))), Error::Deep);
    }

    /// Nodes compile conditions on threads of the runtime, whose stack ends with the process.
    #[test]
    fn chains_as_long_as_a_condition_may_be_fit_a_threads_stack() {
        let stack = |work: fn()| std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join();
        let compiled = stack(|| {
            for (first, repeated, last) in [
                ("1", "+1", " == 2"),
                ("user", ".a", ""),
                ("user", "[0]", ""),
                ("user", ".size()", ""),
                ("1", "<1", ""),
            ] {
                let times = (MAX_CONDITION_BYTES - first.len() - last.len()) / repeated.len();
                let refused = Condition::compile(&format!("{first}{}{last}", repeated.repeat(times))).unwrap_err();
                assert_eq!(refused, Error::Deep, "{repeated}");
            }
            assert!(holds(&format!("true{}", "&&true".repeat(150))));
        });
        assert!(compiled.is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_a_condition_or_refused(source in "[a-z0-9'\"()\\[\\]{}!&|=<>+.?: -]{0,80}") {
            let _ = Condition::compile(&source);
        }
    }
}
