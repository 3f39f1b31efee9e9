//! Java properties text: what a `zoo.cfg`, a dynamic file and the membership's text are written in.
//!
//! In: text. Out: keys and values in the order written, with the line on which each begins.
//!
//! Always true:
//! * what Java's `Properties.load` makes of a text, this makes of it too, but keys and values are trimmed.
//!
//! Not here: what a key means (`config`, `ensemble`).

/// One `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key, unescaped and trimmed.
    pub key: String,
    /// The value, unescaped and trimmed; empty if there is none.
    pub value: String,
    /// The line on which it begins, from 1.
    pub line: u32,
}

/// An escape that is none.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: \\u must be followed by four hexadecimal digits")]
pub struct PropertyError {
    /// The line on which the property begins, from 1.
    pub line: u32,
}

/// Reads every property of a text; a key may come up more than once.
pub fn parse(text: &str) -> Result<Vec<Property>, PropertyError> {
    let mut properties = Vec::new();
    let mut lines = text.lines().zip(1u32..);
    while let Some((first, line)) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_open(&logical) {
            logical.pop();
            let Some((next, _)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        properties.push(split(&logical, line)?);
    }
    Ok(properties)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Whether an odd number of backslashes ends the line, which continues it on the next.
fn ends_open(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split(logical: &str, line: u32) -> Result<Property, PropertyError> {
    let mut escaped = false;
    let end = logical.find(|c: char| {
        let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = logical.split_at(end.unwrap_or(logical.len()));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let unescaped = |text| unescape(text).ok_or(PropertyError { line });
    let key = unescaped(key)?.trim().to_owned();
    let value = unescaped(rest.trim_start_matches(is_blank))?.trim().to_owned();
    Ok(Property { key, value, line })
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => {}
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                let unit = u32::from_str_radix(&digits, 16).ok()?;
                out.push(char::from_u32(unit).unwrap_or('\u{fffd}')); // half of a pair stands for nothing
            }
            Some(other) => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, u32)> {
        let properties = parse(text).expect("text without bad escapes");
        properties.into_iter().map(|property| (property.key, property.value, property.line)).collect()
    }

    #[test]
    fn keys_and_values_are_split_as_java_does() {
        let text = "# c\n! c\n\na=1\n b : 2 \nc 3\nd=\\\n   4\\\n   5\ne\nf\\=g=h=i\n\\u0041=\\t\\\\x\nserver.1=h:1:2;3";
        let want = [
            ("a", "1", 4),
            ("b", "2", 5),
            ("c", "3", 6),
            ("d", "45", 7),
            ("e", "", 10),
            ("f=g", "h=i", 11),
            ("A", "\\x", 12),
            ("server.1", "h:1:2;3", 13),
        ];
        let want: Vec<_> = want.map(|(key, value, line)| (key.to_owned(), value.to_owned(), line)).into();
        assert_eq!(pairs(text), want);
    }

    #[test]
    fn a_bad_escape_is_named() {
        assert_eq!(parse("a=1\nb=\\u00z1"), Err(PropertyError { line: 2 }));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
