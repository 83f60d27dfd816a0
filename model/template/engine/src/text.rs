//! Operations on texts that look at characters: they see what was written and keep who wrote it.

use crate::marks::{has_marks, is_marked, marked_like, plain, plain_char};

/// Python's str.isspace.
pub fn is_space(c: char) -> bool {
    let c = plain_char(c);
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

pub fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let set: Vec<char> = chars.map(|chars| plain(chars).chars().collect()).unwrap_or_default();
    let gone = |c: char| match chars {
        Some(_) => set.contains(&plain_char(c)),
        None => is_space(c),
    };
    let text = if left { text.trim_start_matches(gone) } else { text };
    if right {
        text.trim_end_matches(gone)
    } else {
        text
    }
}

/// Turns offsets into the plain text, in rising order, into offsets into the text as it is.
struct Offsets<'a> {
    text: &'a str,
    at: usize,
    plain_at: usize,
}

impl Offsets<'_> {
    fn of(&mut self, plain_offset: usize) -> usize {
        while self.plain_at < plain_offset {
            let c = self.text[self.at..].chars().next().expect("an offset within the text");
            self.at += c.len_utf8();
            self.plain_at += plain_char(c).len_utf8();
        }
        self.at
    }
}

/// The ranges of `text` that are `what`, from the left, without overlap, at most `limit`.
pub fn find_all(text: &str, what: &str, limit: usize) -> Vec<(usize, usize)> {
    let seen = plain(text);
    let what = plain(what);
    let mut offsets = Offsets { text, at: 0, plain_at: 0 };
    seen.match_indices(what.as_ref())
        .take(limit)
        .map(|(start, found)| (offsets.of(start), offsets.of(start + found.len())))
        .collect()
}

fn rfind_all(text: &str, what: &str, limit: usize) -> Vec<(usize, usize)> {
    let seen = plain(text);
    let what = plain(what);
    let mut found: Vec<usize> = seen.rmatch_indices(what.as_ref()).take(limit).map(|(start, _)| start).collect();
    found.reverse();
    let mut offsets = Offsets { text, at: 0, plain_at: 0 };
    found.into_iter().map(|start| (offsets.of(start), offsets.of(start + what.len()))).collect()
}

/// Python's str.find and str.rfind: in characters, -1 where there is none.
pub fn find(text: &str, what: &str, last: bool) -> i64 {
    let found = if last { rfind_all(text, what, 1) } else { find_all(text, what, 1) };
    found.first().map_or(-1, |(start, _)| text[..*start].chars().count() as i64)
}

fn pieces<'a>(text: &'a str, cuts: &[(usize, usize)]) -> Vec<&'a str> {
    let mut from = 0;
    let mut out = Vec::with_capacity(cuts.len() + 1);
    for (start, end) in cuts {
        out.push(&text[from..*start]);
        from = *end;
    }
    out.push(&text[from..]);
    out
}

pub fn split<'a>(text: &'a str, separator: &str, limit: usize, from_right: bool) -> Vec<&'a str> {
    let cuts = if from_right { rfind_all(text, separator, limit) } else { find_all(text, separator, limit) };
    pieces(text, &cuts)
}

/// Without a separator: at white space, nothing empty.
pub fn split_space(text: &str, limit: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        match rest.find(is_space) {
            Some(end) if out.len() < limit => {
                out.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            Some(_) => {
                out.push(rest);
                break;
            }
            None => {
                out.push(rest);
                break;
            }
        }
    }
    out
}

pub fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(plain_char(c), '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ends) {
        let mut chars = rest[at..].chars();
        let first = chars.next().unwrap_or('\n');
        let mut end = at + first.len_utf8();
        if let (true, Some(second)) = (plain_char(first) == '\r', chars.next()) {
            if plain_char(second) == '\n' {
                end += second.len_utf8();
            }
        }
        out.push(&rest[..if keep_ends { end } else { at }]);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        out.push(rest);
    }
    out
}

/// Python's str.replace. The caller has paid for the result.
pub fn replace(text: &str, old: &str, new: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut from = 0;
    for (start, end) in find_all(text, old, limit) {
        out.push_str(&text[from..start]);
        out.push_str(new);
        from = end;
    }
    out.push_str(&text[from..]);
    out
}

/// `change` on each run of one origin. A text of one origin, which almost every one is, is changed as a whole.
pub fn change(text: &str, change: impl Fn(&str) -> String) -> String {
    if !has_marks(text) {
        return change(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_marked(c) != is_marked(first)).unwrap_or(rest.len());
        out.extend(change(&plain(&rest[..end])).chars().map(|c| marked_like(first, c)));
        rest = &rest[end..];
    }
    out
}

/// Upper case where `upper` says so of the characters before, lower case elsewhere.
fn cased(text: &str, upper: impl Fn(Option<char>) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    for c in text.chars() {
        let seen = plain_char(c);
        if upper(before) {
            out.extend(seen.to_uppercase().map(|to| marked_like(c, to)));
        } else {
            out.extend(seen.to_lowercase().map(|to| marked_like(c, to)));
        }
        before = Some(seen);
    }
    out
}

pub fn capitalize(text: &str) -> String {
    cased(text, |before| before.is_none())
}

pub fn title(text: &str) -> String {
    cased(text, |before| !before.is_some_and(char::is_alphabetic))
}

/// Jinja's filter.
pub fn indent(text: &str, indention: &str, first: bool, blank: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, line) in split_lines(text, true).into_iter().enumerate() {
        let is_blank = line.chars().all(|c| matches!(plain_char(c), '\n' | '\r'));
        if (i > 0 || first) && (blank || !is_blank) {
            out.push_str(indention);
        }
        out.push_str(line);
    }
    out
}
