//! Go's fmt verbs over JSON values (pkg.go.dev/fmt, "Printing").

use serde_json::{Number, Value};

use crate::functions::Bounded;
use crate::value::{print, type_name};

/// Largest width and precision; Go's is a million, but one template must not
/// fill the memory with blanks.
const MAX_WIDTH: usize = 60_000;

/// Flags, width and precision of one verb.
#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    sharp: bool,
    zero: bool,
    plus: bool,
    minus: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

/// `printf`: the format's verbs with the arguments in their places.
pub(crate) fn printf(format: &str, args: &[Value], limit: usize) -> Result<String, String> {
    let mut out = Bounded::new(limit);
    let mut cursor = Cursor {
        args,
        next: 0,
        reordered: false,
    };
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        out.push(rest.get(..percent).unwrap_or_default())?;
        rest = rest.get(percent + 1..).unwrap_or_default();
        let text;
        (text, rest) = verb(rest, &mut cursor);
        out.push(&text)?;
    }
    out.push(rest)?;
    if !cursor.reordered && cursor.next < args.len() {
        let extra: Vec<_> = args
            .iter()
            .skip(cursor.next)
            .map(|arg| match arg {
                Value::Null => "<nil>".to_owned(),
                arg => format!("{}={}", type_name(arg), print(arg)),
            })
            .collect();
        out.push(&format!("%!(EXTRA {})", extra.join(", ")))?;
    }
    Ok(out.finish())
}

struct Cursor<'a> {
    args: &'a [Value],
    next: usize,
    reordered: bool,
}

impl<'a> Cursor<'a> {
    fn take(&mut self) -> Option<&'a Value> {
        let arg = self.args.get(self.next);
        self.next += usize::from(arg.is_some());
        arg
    }

    /// `[n]` sets the next argument; wrong ones give `None`.
    fn index(&mut self, rest: &mut &str) -> Result<(), ()> {
        let Some(inner) = rest.strip_prefix('[') else {
            return Ok(());
        };
        self.reordered = true;
        let (number, behind) = inner.split_once(']').ok_or(())?;
        *rest = behind;
        let place = number
            .parse::<usize>()
            .ok()
            .and_then(|n| n.checked_sub(1))
            .ok_or(())?;
        if place >= self.args.len() {
            return Err(());
        }
        self.next = place;
        Ok(())
    }
}

/// Reads the verb behind a percent sign; gives its text and what follows.
fn verb<'a>(mut rest: &'a str, cursor: &mut Cursor<'_>) -> (String, &'a str) {
    let mut spec = Spec::default();
    let mut complaint = String::new();
    while let Some(flag) = rest.chars().next() {
        match flag {
            '#' => spec.sharp = true,
            '0' => spec.zero = true,
            '+' => spec.plus = true,
            '-' => spec.minus = true,
            ' ' => spec.space = true,
            _ => break,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    let mut bad_index = cursor.index(&mut rest).is_err();
    if let Some(behind) = rest.strip_prefix('*') {
        rest = behind;
        match cursor.take().and_then(Value::as_i64) {
            Some(width) if width.unsigned_abs() <= MAX_WIDTH as u64 => {
                spec.minus |= width < 0;
                spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(0);
            }
            _ => complaint.push_str("%!(BADWIDTH)"),
        }
    } else if let Some(width) = digits(&mut rest) {
        match width {
            Some(width) => spec.width = width,
            None => complaint.push_str("%!(BADWIDTH)"),
        }
    }
    if let Some(behind) = rest.strip_prefix('.') {
        rest = behind;
        spec.precision = Some(0);
        bad_index |= cursor.index(&mut rest).is_err();
        if let Some(behind) = rest.strip_prefix('*') {
            rest = behind;
            let given = cursor
                .take()
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok());
            match given.filter(|precision| *precision <= MAX_WIDTH) {
                Some(precision) => spec.precision = Some(precision),
                None => complaint.push_str("%!(BADPREC)"),
            }
        } else if let Some(precision) = digits(&mut rest) {
            match precision {
                Some(precision) => spec.precision = Some(precision),
                None => complaint.push_str("%!(BADPREC)"),
            }
        }
    }
    bad_index |= cursor.index(&mut rest).is_err();
    let Some(verb) = rest.chars().next() else {
        return (complaint + "%!(NOVERB)", rest);
    };
    let behind = rest.get(verb.len_utf8()..).unwrap_or_default();
    let text = match verb {
        '%' => "%".to_owned(),
        _ if bad_index => format!("%!{verb}(BADINDEX)"),
        _ => match cursor.take() {
            None => format!("%!{verb}(MISSING)"),
            Some(arg) => {
                // With %v a plus asks for field names, which objects always show.
                spec.plus &= verb != 'v';
                argument(spec, verb, arg)
            }
        },
    };
    (complaint + &text, behind)
}

/// A run of digits: `None` if there is none, `Some(None)` if it is too large.
fn digits(rest: &mut &str) -> Option<Option<usize>> {
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    if end == 0 {
        return None;
    }
    let (number, behind) = rest.split_at_checked(end)?;
    *rest = behind;
    Some(number.parse().ok().filter(|number| *number <= MAX_WIDTH))
}

fn argument(spec: Spec, verb: char, arg: &Value) -> String {
    match (verb, arg) {
        ('T', arg) if !arg.is_null() => string(spec, 's', type_name(arg)),
        ('T' | 'v', Value::Null) => pad(spec, "<nil>".into()),
        ('v', arg) if spec.sharp => pad(spec, go_syntax(arg)),
        (_, Value::Null) => format!("%!{verb}(<nil>)"),
        (_, Value::Array(list)) => {
            let items: Vec<_> = list.iter().map(|item| argument(spec, verb, item)).collect();
            format!("[{}]", items.join(" "))
        }
        (_, Value::Object(object)) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(key, value)| {
                    let key = argument(spec, verb, &Value::String(key.clone()));
                    format!("{key}:{}", argument(spec, verb, value))
                })
                .collect();
            format!("map[{}]", entries.join(" "))
        }
        (_, Value::String(text)) => string(spec, verb, text),
        ('v' | 't', Value::Bool(value)) => pad(spec, value.to_string()),
        (_, Value::Number(number)) => numeric(spec, verb, number),
        (_, arg @ Value::Bool(_)) => wrong(spec, verb, arg),
    }
}

/// A verb that does not fit the type: the value as `%v`, under the same flags.
fn wrong(spec: Spec, verb: char, arg: &Value) -> String {
    format!("%!{verb}({}={})", type_name(arg), plain(spec, arg))
}

/// `%v` of what is neither a list nor an object.
fn plain(spec: Spec, arg: &Value) -> String {
    match arg {
        Value::String(text) => string(spec, 'v', text),
        Value::Number(number) => numeric(spec, 'v', number),
        other => pad(spec, print(other)),
    }
}

/// Fills up to the width, with zeros where the flag asks for them (Go does so
/// with texts, too).
fn pad(spec: Spec, text: String) -> String {
    let fill = if spec.zero && !spec.minus { "0" } else { " " };
    let blanks = spec.width.saturating_sub(text.chars().count());
    match spec.minus {
        _ if blanks == 0 => text,
        true => text + &fill.repeat(blanks),
        false => fill.repeat(blanks) + &text,
    }
}

fn string(spec: Spec, verb: char, text: &str) -> String {
    let cut = || match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match verb {
        'v' | 's' => pad(spec, cut()),
        'q' if spec.sharp && !text.contains('`') && !text.contains(char::is_control) => {
            pad(spec, format!("`{}`", cut()))
        }
        'q' => pad(spec, quote(&cut(), '"', spec.plus)),
        'x' | 'X' => {
            let bytes = text.bytes().take(spec.precision.unwrap_or(text.len()));
            let separator = if spec.space { " " } else { "" };
            let prefix = if spec.sharp {
                ["0x", "0X"][usize::from(verb == 'X')]
            } else {
                ""
            };
            let hex: Vec<_> = bytes
                .map(|byte| {
                    if verb == 'x' {
                        format!("{byte:02x}")
                    } else {
                        format!("{byte:02X}")
                    }
                })
                .collect();
            let each = if spec.space { prefix } else { "" };
            let hex: Vec<_> = hex
                .into_iter()
                .map(|pair| format!("{each}{pair}"))
                .collect();
            let joined = hex.join(separator);
            let front = if spec.space || joined.is_empty() {
                ""
            } else {
                prefix
            };
            pad(spec, format!("{front}{joined}"))
        }
        _ => wrong(spec, verb, &Value::String(text.into())),
    }
}

/// Go's strconv.Quote.
pub(crate) fn quote(text: &str, mark: char, ascii: bool) -> String {
    let mut out = String::from(mark);
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            '\0'..='\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if !ascii && is_print(c) => out.push(c),
            '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(mark);
    out
}

fn numeric(spec: Spec, verb: char, number: &Number) -> String {
    let value = Value::Number(number.clone());
    if number.is_f64() {
        let float = number.as_f64().unwrap_or(0.0);
        return match verb {
            'v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F' => signed(
                spec,
                float.is_sign_negative(),
                &float_digits(spec, verb, float.abs()),
            ),
            _ => wrong(spec, verb, &value),
        };
    }
    let integer = number
        .as_i64()
        .map(i128::from)
        .or(number.as_u64().map(i128::from))
        .unwrap_or(0);
    let magnitude = integer.unsigned_abs();
    let character = u32::try_from(integer)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or('\u{fffd}');
    let mut digits = match verb {
        'v' | 'd' => magnitude.to_string(),
        'b' => format!("{magnitude:b}"),
        'o' | 'O' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        'c' => return pad(spec, character.to_string()),
        'q' => return pad(spec, quote(&character.to_string(), '\'', spec.plus)),
        'U' => return unicode(spec, integer),
        _ => return wrong(spec, verb, &value),
    };
    let sign = sign(spec, integer < 0);
    let least = match spec.precision {
        // An explicit precision of 0 prints zero as nothing.
        Some(0) if integer == 0 => {
            return pad(
                Spec {
                    zero: false,
                    ..spec
                },
                String::new(),
            );
        }
        Some(precision) => precision,
        // Zeros take the sign's place in the width, but not the prefix's.
        None if spec.zero && !spec.minus => spec.width.saturating_sub(sign.len()),
        None => 0,
    };
    digits = "0".repeat(least.saturating_sub(digits.len())) + &digits;
    if spec.sharp {
        match verb {
            'b' => digits.insert_str(0, "0b"),
            'o' | 'O' if !digits.starts_with('0') => digits.insert(0, '0'),
            'x' => digits.insert_str(0, "0x"),
            'X' => digits.insert_str(0, "0X"),
            _ => {}
        }
    }
    if verb == 'O' {
        digits.insert_str(0, "0o");
    }
    pad(
        Spec {
            zero: false,
            ..spec
        },
        format!("{sign}{digits}"),
    )
}

/// `%U`: at least four digits and never a sign.
fn unicode(spec: Spec, integer: i128) -> String {
    // Negative numbers appear as the 64 bits that they are.
    let bits = integer as u64;
    let least = spec.precision.unwrap_or(0).max(4);
    let mut text = format!("{bits:X}");
    text = format!("U+{}{text}", "0".repeat(least.saturating_sub(text.len())));
    let character = u32::try_from(bits)
        .ok()
        .and_then(char::from_u32)
        .filter(|c| is_print(*c));
    if let (true, Some(character)) = (spec.sharp, character) {
        text = format!("{text} '{character}'");
    }
    pad(
        Spec {
            zero: false,
            ..spec
        },
        text,
    )
}

/// Go's unicode.IsPrint, nearly: Rust's tables are a little newer.
pub(crate) fn is_print(c: char) -> bool {
    // Combining marks are printable, but Rust escapes them when they stand alone.
    let combining =
        matches!(c, '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20f0}' | '\u{fe00}'..='\u{fe0f}');
    matches!(c, '\'' | '"' | '\\') || combining || c.escape_debug().count() == 1
}

fn sign(spec: Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

/// Puts sign and padding around the digits of a float.
fn signed(spec: Spec, negative: bool, digits: &str) -> String {
    let sign = sign(spec, negative);
    if spec.zero && !spec.minus {
        let zeros = "0".repeat(spec.width.saturating_sub(sign.len() + digits.len()));
        return format!("{sign}{zeros}{digits}");
    }
    pad(spec, format!("{sign}{digits}"))
}

/// Go's `%v` of a float.
pub(crate) fn shortest(float: f64) -> String {
    let sign = if float.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}", float_digits(Spec::default(), 'v', float.abs()))
}

fn float_digits(spec: Spec, verb: char, float: f64) -> String {
    let text = match verb {
        'f' | 'F' => format!("{float:.*}", spec.precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{float:.*e}", spec.precision.unwrap_or(6))),
        _ => general(float, spec.precision),
    };
    if verb == 'E' || verb == 'G' {
        text.to_uppercase()
    } else {
        text
    }
}

/// Rust's `1.5e3` as Go's `1.5e+03`.
fn exponent(text: &str) -> String {
    let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, power) = match power.strip_prefix('-') {
        Some(power) => ('-', power),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{power:0>2}")
}

/// `%g`: as short as the precision allows, with an exponent where it is below
/// -4 or at least the precision (6 where the shortest form is asked for).
fn general(float: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        None => format!("{float:e}"),
        Some(precision) => format!("{float:.*e}", precision.max(1) - 1),
    };
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i64 = power.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    let digits = i64::try_from(mantissa.replace('.', "").len()).unwrap_or(1);
    let limit = match precision {
        None => 6,
        Some(precision) => {
            let precision = i64::try_from(precision.max(1)).unwrap_or(1);
            if precision > digits && digits > power {
                digits
            } else {
                precision
            }
        }
    };
    if power < -4 || power >= limit {
        return exponent(&format!("{mantissa}e{power}"));
    }
    let places = usize::try_from((digits - 1 - power).max(0)).unwrap_or(0);
    format!("{float:.places$}")
}

/// `%#v`.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text, '"', false),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", quote(key, '"', false), go_syntax(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        value => print(value),
    }
}
