//! The question before a destructive command: asked on a terminal, answered by `--yes` everywhere else.

use std::io::{self, BufRead, IsTerminal, Write};

use super::exit::Failure;

/// Returns when the operator agreed to what `question` describes.
pub fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Refused(format!("{question} Repeat with --yes to agree.")));
    }
    ask(&mut io::stdin().lock(), &mut io::stderr().lock(), question)
}

fn ask(input: &mut dyn BufRead, prompt: &mut dyn Write, question: &str) -> Result<(), Failure> {
    let unanswered = |error: io::Error| Failure::Refused(format!("cannot ask: {error}"));
    write!(prompt, "{question} [yes/no] ").and_then(|()| prompt.flush()).map_err(unanswered)?;
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(unanswered)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Refused("nothing was changed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Result<(), Failure> {
        let mut prompt = Vec::new();
        let outcome = ask(&mut text.as_bytes(), &mut prompt, "Really?");
        assert_eq!(prompt, b"Really? [yes/no] ");
        outcome
    }

    #[test]
    fn only_a_clear_yes_agrees() {
        assert!(answered("yes\n").is_ok());
        assert!(answered(" Y \n").is_ok());
        for other in ["no\n", "\n", "", "yess\n", "sure\n"] {
            assert_eq!(answered(other).unwrap_err().exit_code(), 5, "{other:?}");
        }
    }

    #[test]
    fn yes_is_never_asked() {
        assert!(confirm(true, "Really?").is_ok());
    }
}
