//! Text to tokens (Go's text/template/parse/lex.go is the behaviour's source).

use crate::error::Fault;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Text between actions, trimmed and with its escapes read.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    Space,
    /// `.`
    Dot,
    /// `.Name`
    Field(String),
    /// `$` or `$name`, without the dollar
    Variable(String),
    /// a word: function or keyword
    Word(String),
    /// a quoted or raw string, read
    Quoted(String),
    /// a number or character constant as it stands
    Number(String),
    Character(char),
    Pipe,
    Comma,
    LeftParen,
    RightParen,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    End,
}

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Lexed {
    pub(crate) token: Token,
    pub(crate) offset: usize,
}

/// What Go counts as space in trimming and between operands.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template into tokens; the last one is [`Token::End`].
pub(crate) fn tokens(source: &str, escapes: bool) -> Result<Vec<Lexed>, Fault> {
    let mut lexer = Lexer {
        source,
        at: 0,
        list: Vec::new(),
    };
    let mut trim_next = false;
    loop {
        let start = lexer.at;
        let rest = lexer.rest();
        let (text, found) = match rest.find("{{") {
            Some(open) => (rest.get(..open).unwrap_or_default(), true),
            None => (rest, false),
        };
        lexer.at += text.len();
        let mut shown = text;
        if trim_next {
            shown = shown.trim_start_matches(SPACE);
        }
        let open = lexer.at;
        if found {
            lexer.at += 2;
            if trims(lexer.rest()) {
                shown = shown.trim_end_matches(SPACE);
                lexer.at += 1;
            }
        }
        if !shown.is_empty() {
            let text = if escapes {
                unescape(shown)
            } else {
                shown.to_owned()
            };
            lexer.push(Token::Text(text), start);
        }
        if !found {
            lexer.push(Token::End, source.len());
            return Ok(lexer.list);
        }
        trim_next = lexer.action(open)?;
    }
}

/// Whether a trim marker stands at the start: a dash and a space.
fn trims(rest: &str) -> bool {
    rest.strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(SPACE))
}

/// The literal `\t` and `\n` that shells pass on.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    list: Vec<Lexed>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, token: Token, offset: usize) {
        self.list.push(Lexed { token, offset });
    }

    /// Lexes one action, of which the opening braces are read; says whether
    /// the text behind it is trimmed.
    fn action(&mut self, open: usize) -> Result<bool, Fault> {
        let comment = self.rest().trim_start_matches(SPACE);
        // Go wants a comment directly behind the braces or the trim marker and its space.
        let spaces = self.rest().len() - comment.len();
        let trimmed = self
            .source
            .get(..self.at)
            .is_some_and(|text| text.ends_with("{{-"));
        if comment.starts_with("/*") && (spaces == 0 || trimmed) {
            self.at += spaces;
            return self.comment(open);
        }
        self.push(Token::Open, open);
        let mut parens = 0usize;
        loop {
            let offset = self.at;
            let rest = self.rest();
            let inner = rest.trim_start_matches(SPACE);
            if rest.len() != inner.len() && inner.starts_with("-}}") {
                self.at = self.source.len() - inner.len() + 3;
                return self.close(parens, offset).map(|()| true);
            }
            if rest.starts_with("}}") {
                self.at += 2;
                return self.close(parens, offset).map(|()| false);
            }
            if rest.len() != inner.len() {
                self.at = self.source.len() - inner.len();
                self.push(Token::Space, offset);
                continue;
            }
            let Some(c) = self.peek() else {
                return Err(Fault::new(open, "unclosed action"));
            };
            let token = self.token(c, &mut parens)?;
            self.push(token, offset);
        }
    }

    fn close(&mut self, parens: usize, offset: usize) -> Result<(), Fault> {
        if parens > 0 {
            return Err(Fault::new(offset, "unclosed left parenthesis"));
        }
        self.push(Token::Close, offset);
        Ok(())
    }

    fn comment(&mut self, open: usize) -> Result<bool, Fault> {
        let Some(end) = self.rest().find("*/") else {
            return Err(Fault::new(open, "unclosed comment"));
        };
        self.at += end + 2;
        let rest = self.rest();
        if rest.starts_with("}}") {
            self.at += 2;
            return Ok(false);
        }
        let inner = rest.trim_start_matches(SPACE);
        if inner.len() != rest.len() && inner.starts_with("-}}") {
            self.at = self.source.len() - inner.len() + 3;
            return Ok(true);
        }
        Err(Fault::new(open, "comment ends before the closing braces"))
    }

    fn token(&mut self, c: char, parens: &mut usize) -> Result<Token, Fault> {
        let offset = self.at;
        let rest = self.rest();
        let next = rest.chars().nth(1);
        let single = |lexer: &mut Self, token| {
            lexer.at += c.len_utf8();
            Ok(token)
        };
        match c {
            '|' => single(self, Token::Pipe),
            ',' => single(self, Token::Comma),
            '=' => single(self, Token::Assign),
            '(' => {
                *parens += 1;
                single(self, Token::LeftParen)
            }
            ')' => {
                let Some(fewer) = parens.checked_sub(1) else {
                    return Err(Fault::new(offset, "unexpected right parenthesis"));
                };
                *parens = fewer;
                single(self, Token::RightParen)
            }
            ':' if next == Some('=') => {
                self.at += 2;
                Ok(Token::Declare)
            }
            ':' => Err(Fault::new(offset, "expected :=")),
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '$' => {
                self.at += 1;
                let name = self.name();
                self.terminated(Token::Variable(name))
            }
            '.' if next.is_some_and(|next| next.is_ascii_digit()) => self.number(),
            '.' => {
                self.at += 1;
                let name = self.name();
                if name.is_empty() {
                    return self.terminated(Token::Dot);
                }
                self.terminated(Token::Field(name))
            }
            '+' | '-' | '0'..='9' => self.number(),
            c if is_name(c) => {
                let name = self.name();
                self.terminated(Token::Word(name))
            }
            c => Err(Fault::new(offset, format!("unexpected {c:?} in action"))),
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default().to_owned()
    }

    /// A name must not run into other characters: `.Names-x` is no field.
    fn terminated(&mut self, token: Token) -> Result<Token, Fault> {
        match self.peek() {
            Some(c) if !SPACE.contains(&c) && !".,|:()=}".contains(c) => Err(Fault::new(
                self.at,
                format!("unexpected {c:?} after a name"),
            )),
            _ => Ok(token),
        }
    }

    fn raw(&mut self) -> Result<Token, Fault> {
        let inner = self.rest().get(1..).unwrap_or_default();
        let Some(end) = inner.find('`') else {
            return Err(Fault::new(self.at, "unterminated raw string"));
        };
        self.at += end + 2;
        // Go drops carriage returns from raw strings.
        Ok(Token::Quoted(
            inner.get(..end).unwrap_or_default().replace('\r', ""),
        ))
    }

    fn quoted(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err(Fault::new(start, "unterminated string")),
                Some('"') => {
                    self.at += 1;
                    return match String::from_utf8(text) {
                        Ok(text) => Ok(Token::Quoted(text)),
                        Err(_) => Err(Fault::new(start, "the string is not UTF-8")),
                    };
                }
                Some('\\') => self.escape('"', &mut text)?,
                Some(c) => {
                    self.at += c.len_utf8();
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
    }

    fn character(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        let wrong = || Fault::new(start, "malformed character constant");
        self.at += 1;
        let mut text = Vec::new();
        match self.peek() {
            None | Some('\n' | '\'') => return Err(wrong()),
            Some('\\') => self.escape('\'', &mut text)?,
            Some(c) => {
                self.at += c.len_utf8();
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if self.peek() != Some('\'') {
            return Err(wrong());
        }
        self.at += 1;
        let text = String::from_utf8(text).map_err(|_| wrong())?;
        text.chars().next().map(Token::Character).ok_or_else(wrong)
    }

    /// One escape sequence of Go's interpreted strings.
    fn escape(&mut self, quote: char, text: &mut Vec<u8>) -> Result<(), Fault> {
        let start = self.at;
        let wrong = || Fault::new(start, "unknown escape in string");
        let mut chars = self.rest().chars().skip(1);
        let Some(kind) = chars.next() else {
            return Err(wrong());
        };
        self.at += 1 + kind.len_utf8();
        let byte = match kind {
            'a' => 7,
            'b' => 8,
            't' => b'\t',
            'n' => b'\n',
            'v' => 11,
            'f' => 12,
            'r' => b'\r',
            '\\' => b'\\',
            quoted if quoted == quote => u8::try_from(quote).map_err(|_| wrong())?,
            '0'..='7' => {
                self.at -= 1;
                u8::try_from(self.digits(3, 8).ok_or_else(wrong)?).map_err(|_| wrong())?
            }
            'x' => u8::try_from(self.digits(2, 16).ok_or_else(wrong)?).map_err(|_| wrong())?,
            'u' | 'U' => {
                let count = if kind == 'u' { 4 } else { 8 };
                let code = self
                    .digits(count, 16)
                    .and_then(char::from_u32)
                    .ok_or_else(wrong)?;
                text.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(wrong()),
        };
        text.push(byte);
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let digits = self.rest().get(..count)?;
        if !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.at += count;
        u32::from_str_radix(digits, radix).ok()
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        let rest = self.rest();
        let mut end = 0;
        let mut before = ' ';
        for c in rest.chars() {
            let sign =
                matches!(c, '+' | '-') && (end == 0 || matches!(before, 'e' | 'E' | 'p' | 'P'));
            if !sign && !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_') {
                break;
            }
            end += 1;
            before = c;
        }
        self.at += end;
        let text = rest.get(..end).unwrap_or_default();
        match self.peek() {
            Some(c) if !SPACE.contains(&c) && !",|):}".contains(c) => {
                Err(Fault::new(start, format!("{text:?} is not a number")))
            }
            _ => Ok(Token::Number(text.to_owned())),
        }
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
