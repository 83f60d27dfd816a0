//! Who wrote a character. What a message holds is rendered in other code points, one for one, so that each character
//! carries its origin through every operation of the template and back out of the rendered text.
//!
//! Planes 4 to 13 of Unicode have no characters. A character of planes 0 to 3 is moved four planes up when a user wrote
//! it, one of planes 14 to 16 six planes down; plane 11 keeps the two marks of `{% generation %}`.

use std::borrow::Cow;

/// Printed where a `{% generation %}` block begins and ends.
pub const GENERATION_START: &str = "\u{B0001}";
pub const GENERATION_END: &str = "\u{B0002}";

pub fn is_marked(c: char) -> bool {
    matches!(c as u32, 0x40000..=0xAFFFF)
}

/// Whether any character is; every marked one begins with one of these two bytes, and no assigned one does.
pub fn has_marks(text: &str) -> bool {
    text.bytes().any(|byte| byte == 0xF1 || byte == 0xF2)
}

/// None: Unicode has no such character, and the place is taken by a mark.
pub fn mark_char(c: char) -> Option<char> {
    match c as u32 {
        code @ 0..=0x3FFFF => char::from_u32(code + 0x40000),
        code @ 0xE0000..=0x10FFFF => char::from_u32(code - 0x60000),
        _ => None,
    }
}

pub fn plain_char(c: char) -> char {
    match c as u32 {
        code @ 0x40000..=0x7FFFF => char::from_u32(code - 0x40000).unwrap_or(char::REPLACEMENT_CHARACTER),
        code @ 0x80000..=0xAFFFF => char::from_u32(code + 0x60000).unwrap_or(char::REPLACEMENT_CHARACTER),
        _ => c,
    }
}

pub fn plain(text: &str) -> Cow<'_, str> {
    if has_marks(text) {
        Cow::Owned(text.chars().map(plain_char).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// `result` as written by whom `like` was.
pub fn marked_like(like: char, result: char) -> char {
    if is_marked(like) {
        mark_char(result).unwrap_or(result)
    } else {
        result
    }
}

/// The error is the character that cannot be marked.
pub fn mark(text: &str, out: &mut String) -> Result<(), char> {
    out.reserve(text.len() * 2);
    for c in text.chars() {
        out.push(mark_char(c).ok_or(c)?);
    }
    Ok(())
}
