//! Tokens to a tree.

use serde_json::Value;

use crate::ast::{Branch, Command, Node, Operand, Pipe, Target, Term};
use crate::error::{Error, Fault, Place};
use crate::functions;
use crate::lex::{self, Lexed, Token};

/// Most nested blocks and parentheses.
const MAX_DEPTH: usize = 64;

/// Reads a whole template.
pub(crate) fn template(source: &str, escapes: bool) -> Result<Vec<Node>, Error> {
    read(source, escapes).map_err(|fault| Error::Parse {
        place: Place::of(source, fault.offset),
        message: fault.message,
    })
}

fn read(source: &str, escapes: bool) -> Result<Vec<Node>, Fault> {
    if source.len() > crate::Template::MAX_LEN {
        return Err(Fault::new(0, "it is longer than 1 MiB"));
    }
    let tokens = lex::tokens(source, escapes)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        variables: vec![String::new()],
        depth: 0,
        loops: 0,
    };
    let (nodes, stop) = parser.nodes()?;
    match stop {
        Stop::Eof => Ok(nodes),
        Stop::End(offset) => Err(Fault::new(offset, "unexpected {{end}}")),
        Stop::Else(offset) => Err(Fault::new(offset, "unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
enum Stop {
    Eof,
    /// `{{end}}`
    End(usize),
    /// `{{else`, of which the rest is not read
    Else(usize),
}

struct Parser {
    tokens: Vec<Lexed>,
    at: usize,
    /// Names in scope, innermost last.
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.at)
            .map_or(&Token::End, |lexed| &lexed.token)
    }

    fn offset(&self) -> usize {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(0, |lexed| lexed.offset)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        if *self.peek() == Token::Space {
            self.at += 1;
        }
    }

    fn deeper(&mut self, offset: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(
                offset,
                format!("it is nested deeper than {MAX_DEPTH}"),
            ));
        }
        Ok(())
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        loop {
            let offset = self.offset();
            match self.next() {
                Token::Text(text) => nodes.push(Node::Text(text)),
                Token::Open => {
                    self.skip_space();
                    let keyword = match self.peek() {
                        Token::Word(word) => word.clone(),
                        _ => String::new(),
                    };
                    match keyword.as_str() {
                        "end" => {
                            self.at += 1;
                            self.close("end")?;
                            return Ok((nodes, Stop::End(offset)));
                        }
                        "else" => {
                            self.at += 1;
                            return Ok((nodes, Stop::Else(offset)));
                        }
                        _ => nodes.push(self.action(&keyword, offset)?),
                    }
                }
                _ => return Ok((nodes, Stop::Eof)),
            }
        }
    }

    fn action(&mut self, keyword: &str, offset: usize) -> Result<Node, Fault> {
        match keyword {
            "if" | "with" | "range" => {
                self.at += 1;
                self.block(keyword, offset)
            }
            "break" | "continue" => {
                self.at += 1;
                self.close(keyword)?;
                if self.loops == 0 {
                    return Err(Fault::new(
                        offset,
                        format!("{{{{{keyword}}}}} outside {{{{range}}}}"),
                    ));
                }
                Ok(if keyword == "break" {
                    Node::Break(offset)
                } else {
                    Node::Continue(offset)
                })
            }
            "define" | "template" | "block" => Err(Fault::new(
                offset,
                format!("{{{{{keyword}}}}} is not supported"),
            )),
            _ => {
                let pipe = self.pipe("command", 1)?;
                self.close("command")?;
                Ok(Node::Action(pipe))
            }
        }
    }

    /// The closing braces.
    fn close(&mut self, context: &str) -> Result<(), Fault> {
        self.skip_space();
        let offset = self.offset();
        match self.next() {
            Token::Close => Ok(()),
            token => Err(unexpected(&token, context, offset)),
        }
    }

    /// `if`, `with` or `range` after its keyword, up to its `{{end}}`.
    fn block(&mut self, keyword: &str, offset: usize) -> Result<Node, Fault> {
        self.deeper(offset)?;
        let scope = self.variables.len();
        let is_range = keyword == "range";
        let pipe = self.pipe(keyword, if is_range { 2 } else { 1 })?;
        self.close(keyword)?;
        self.loops += usize::from(is_range);
        let inner = self.variables.len();
        let (then, stop) = self.nodes()?;
        self.loops -= usize::from(is_range);
        self.variables.truncate(inner);
        let otherwise = match stop {
            Stop::End(_) => Vec::new(),
            Stop::Else(place) => self.otherwise(keyword, place, offset)?,
            Stop::Eof => return Err(unclosed(keyword, offset)),
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        let branch = Branch {
            pipe,
            then,
            otherwise,
            moves_dot: keyword == "with",
        };
        Ok(if is_range {
            Node::Range(branch)
        } else {
            Node::Branch(branch)
        })
    }

    /// What follows `{{else`, up to the block's `{{end}}`.
    fn otherwise(&mut self, keyword: &str, place: usize, start: usize) -> Result<Vec<Node>, Fault> {
        self.skip_space();
        if let Token::Word(word) = self.peek()
            && word == keyword
            && keyword != "range"
        {
            // `{{else if}}` shares the `{{end}}` of its block.
            self.at += 1;
            let nested = self.block(keyword, place)?;
            return Ok(vec![nested]);
        }
        self.close("else")?;
        let scope = self.variables.len();
        let (nodes, stop) = self.nodes()?;
        self.variables.truncate(scope);
        match stop {
            Stop::End(_) => Ok(nodes),
            Stop::Else(offset) => Err(Fault::new(offset, "a second {{else}}")),
            Stop::Eof => Err(unclosed(keyword, start)),
        }
    }

    /// A pipe up to a closing brace or parenthesis, which is not read.
    /// `targets` is how many variables it may declare.
    fn pipe(&mut self, context: &str, targets: usize) -> Result<Pipe, Fault> {
        self.skip_space();
        let offset = self.offset();
        let target = self.target(context, targets)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Token::Close | Token::RightParen => break,
                Token::Pipe => return Err(Fault::new(self.offset(), "missing command before |")),
                _ => commands.push(self.command(commands.len() + 1)?),
            }
            self.skip_space();
            if *self.peek() == Token::Pipe {
                self.at += 1;
                self.skip_space();
                if matches!(self.peek(), Token::Close | Token::RightParen | Token::Pipe) {
                    return Err(Fault::new(self.offset(), "missing command after |"));
                }
            }
        }
        if commands.is_empty() {
            return Err(Fault::new(offset, format!("missing value for {context}")));
        }
        match &target {
            Target::Declare(names) => self.variables.extend(names.iter().cloned()),
            Target::Assign(names) => names.iter().try_for_each(|name| self.known(name, offset))?,
            Target::None => {}
        }
        Ok(Pipe {
            offset,
            target,
            commands,
        })
    }

    /// `$x :=`, `$x =` or `$i, $e :=`, if one stands here.
    fn target(&mut self, context: &str, targets: usize) -> Result<Target, Fault> {
        let start = self.at;
        let mut names = Vec::new();
        while let Token::Variable(name) = self.peek() {
            let (name, offset) = (name.clone(), self.offset());
            self.at += 1;
            self.skip_space();
            match self.peek() {
                Token::Declare | Token::Assign if name.is_empty() => {
                    return Err(Fault::new(offset, "$ cannot be set"));
                }
                Token::Declare | Token::Assign => {
                    names.push(name);
                    if names.len() > targets {
                        return Err(Fault::new(
                            offset,
                            format!("too many variables in {context}"),
                        ));
                    }
                    return Ok(match self.next() {
                        Token::Declare => Target::Declare(names),
                        _ => Target::Assign(names),
                    });
                }
                Token::Comma if targets > 1 && names.is_empty() => {
                    self.at += 1;
                    self.skip_space();
                    names.push(name);
                }
                _ => break,
            }
        }
        if !names.is_empty() {
            return Err(Fault::new(self.offset(), "expected a variable and :="));
        }
        self.at = start;
        Ok(Target::None)
    }

    fn known(&self, name: &str, offset: usize) -> Result<(), Fault> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(Fault::new(
            offset,
            format!("undefined variable \"${name}\""),
        ))
    }

    fn command(&mut self, stage: usize) -> Result<Command, Fault> {
        let offset = self.offset();
        let first = self.operand()?;
        let constant = matches!(first.term, Term::Constant(_) | Term::Nil)
            || (matches!(first.term, Term::Dot) && first.fields.is_empty());
        if stage > 1 && constant {
            let message = format!("non executable command in pipeline stage {stage}");
            return Err(Fault::new(offset, message));
        }
        let mut arguments = Vec::new();
        loop {
            match self.peek() {
                Token::Close | Token::RightParen | Token::Pipe => break,
                Token::Space => {
                    self.at += 1;
                    if !matches!(self.peek(), Token::Close | Token::RightParen | Token::Pipe) {
                        arguments.push(self.operand()?);
                    }
                }
                token => return Err(unexpected(token, "operand", self.offset())),
            }
        }
        Ok(Command {
            offset,
            first,
            arguments,
        })
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        let offset = self.offset();
        let mut fields = Vec::new();
        let term = match self.next() {
            Token::Dot => Term::Dot,
            Token::Field(name) => {
                fields.push(name);
                Term::Dot
            }
            Token::Variable(name) => {
                self.known(&name, offset)?;
                Term::Variable(name)
            }
            Token::Word(word) => match word.as_str() {
                "true" => Term::Constant(Value::Bool(true)),
                "false" => Term::Constant(Value::Bool(false)),
                "nil" => Term::Nil,
                name => match functions::find(name) {
                    Some(name) => Term::Function(name),
                    None => {
                        return Err(Fault::new(offset, format!("function {name:?} not defined")));
                    }
                },
            },
            Token::Quoted(text) => Term::Constant(Value::String(text)),
            Token::Character(c) => Term::Constant(u32::from(c).into()),
            Token::Number(text) => Term::Constant(number(&text).ok_or_else(|| {
                Fault::new(offset, format!("{text:?} is not a number that fits"))
            })?),
            Token::LeftParen => {
                self.deeper(offset)?;
                let pipe = self.pipe("parenthesized pipeline", 1)?;
                let end = self.offset();
                match self.next() {
                    Token::RightParen => {}
                    token => return Err(unexpected(&token, "parenthesized pipeline", end)),
                }
                self.depth -= 1;
                Term::Pipe(Box::new(pipe))
            }
            token => return Err(unexpected(&token, "operand", offset)),
        };
        while let Token::Field(name) = self.peek() {
            if matches!(term, Term::Constant(_) | Term::Nil | Term::Function(_))
                || (matches!(term, Term::Dot) && fields.is_empty())
            {
                return Err(Fault::new(
                    self.offset(),
                    format!("unexpected .{name} after term"),
                ));
            }
            fields.push(name.clone());
            self.at += 1;
        }
        Ok(Operand {
            offset,
            term,
            fields,
        })
    }
}

fn unclosed(keyword: &str, offset: usize) -> Fault {
    Fault::new(offset, format!("{{{{{keyword}}}}} has no {{{{end}}}}"))
}

fn unexpected(token: &Token, context: &str, offset: usize) -> Fault {
    let shown = match token {
        Token::Text(text) => format!("text {text:?}"),
        Token::Open => "{{".into(),
        Token::Close => "}}".into(),
        Token::Space => "space".into(),
        Token::Dot => ".".into(),
        Token::Field(name) => format!(".{name}"),
        Token::Variable(name) => format!("${name}"),
        Token::Word(word) => word.clone(),
        Token::Quoted(text) => format!("{text:?}"),
        Token::Number(text) => text.clone(),
        Token::Character(c) => format!("{c:?}"),
        Token::Pipe => "|".into(),
        Token::Comma => ",".into(),
        Token::LeftParen => "(".into(),
        Token::RightParen => ")".into(),
        Token::Declare => ":=".into(),
        Token::Assign => "=".into(),
        Token::End => "end of the format".into(),
    };
    Fault::new(offset, format!("unexpected {shown} in {context}"))
}

/// Go's integer and floating-point literals.
fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    // An underscore may stand between digits and behind the prefix alone.
    if lower.starts_with('_') || lower.ends_with('_') || lower.contains("__") {
        return None;
    }
    let plain = lower.replace('_', "");
    let prefix = |prefix: &str| {
        plain
            .strip_prefix(prefix)
            .filter(|rest| !rest.starts_with(['+', '-']))
    };
    let integer = if let Some(hex) = prefix("0x") {
        u64::from_str_radix(hex, 16).ok()
    } else if let Some(octal) = prefix("0o") {
        u64::from_str_radix(octal, 8).ok()
    } else if let Some(binary) = prefix("0b") {
        u64::from_str_radix(binary, 2).ok()
    } else if plain.bytes().all(|c| c.is_ascii_digit()) && !plain.is_empty() {
        let radix = if plain.len() > 1 && plain.starts_with('0') {
            8
        } else {
            10
        };
        Some(u64::from_str_radix(&plain, radix).ok()?)
    } else {
        None
    };
    if let Some(integer) = integer {
        if !negative {
            return Some(integer.into());
        }
        return 0i64.checked_sub_unsigned(integer).map(Value::from);
    }
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') || plain.starts_with("0x") {
        return None;
    }
    let float = plain
        .parse::<f64>()
        .ok()
        .filter(|float| float.is_finite())?;
    serde_json::Number::from_f64(if negative { -float } else { float }).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_gos() {
        for (text, value) in [
            ("0", Some(json!(0))),
            ("-17", Some(json!(-17))),
            ("+5", Some(json!(5))),
            ("1_000", Some(json!(1000))),
            ("0x1F", Some(json!(31))),
            ("0b101", Some(json!(5))),
            ("0o17", Some(json!(15))),
            ("017", Some(json!(15))),
            ("1.5", Some(json!(1.5))),
            (".5", Some(json!(0.5))),
            ("-1e3", Some(json!(-1000.0))),
            ("18446744073709551615", Some(json!(u64::MAX))),
            ("-9223372036854775808", Some(json!(i64::MIN))),
            ("18446744073709551616", None),
            ("-9223372036854775809", None),
            ("1e999", None),
            ("089", None),
            ("0x", None),
            ("0x+1", None),
            ("1__0", None),
            ("1i", None),
            ("+", None),
            ("inf", None),
            ("1x", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }
}
