//! The C interface. No panic leaves it.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::compile::{compile, Template};
use crate::render::{describe, render, Failure, Rendered, Run};

/// A text that Rust owns, and its runs.
#[repr(C)]
pub struct LlavaTemplateText {
    text: *mut u8,
    size: usize,
    runs: *mut Run,
    num_runs: usize,
}

const OK: i32 = 0;
const RAISED: i32 = 1;
const BAD_VARIABLES: i32 = 2;
const FAILED: i32 = 3;

fn give(rendered: Rendered, out: *mut LlavaTemplateText) {
    let text = Box::leak(rendered.text.into_bytes().into_boxed_slice());
    let runs = Box::leak(rendered.runs.into_boxed_slice());
    let given = LlavaTemplateText {
        text: text.as_mut_ptr(),
        size: text.len(),
        runs: runs.as_mut_ptr(),
        num_runs: runs.len(),
    };
    // SAFETY: the caller gives a place for it.
    unsafe { out.write(given) };
}

fn give_message(message: String, out: *mut LlavaTemplateText) {
    give(Rendered { text: message, runs: Vec::new() }, out);
}

/// # Safety
/// `data` is `size` bytes, or anything when `size` is 0.
unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// # Safety
/// As llava_template.h says.
#[no_mangle]
pub unsafe extern "C" fn llava_template_compile(
    source: *const u8, size: usize, error: *mut LlavaTemplateText,
) -> *mut Template {
    let source = bytes(source, size);
    let compiled = catch_unwind(|| match std::str::from_utf8(source) {
        Ok(source) => compile(source).map_err(|error| describe(&error)),
        Err(_) => Err("expected valid UTF-8".to_string()),
    });
    match compiled.unwrap_or_else(|_| Err("the template engine failed".to_string())) {
        Ok(template) => Box::into_raw(Box::new(template)),
        Err(message) => {
            give_message(message, error);
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// As llava_template.h says.
#[no_mangle]
pub unsafe extern "C" fn llava_template_render(
    template: *const Template, variables: *const u8, size: usize, now: i64, out: *mut LlavaTemplateText,
) -> i32 {
    let variables = bytes(variables, size);
    let template = &*template;
    let rendered = catch_unwind(AssertUnwindSafe(|| render(template, variables, now)));
    match rendered.unwrap_or_else(|_| Err(Failure::Template("the template engine failed".to_string()))) {
        Ok(rendered) => {
            give(rendered, out);
            OK
        }
        Err(Failure::Raised(message)) => {
            give_message(message, out);
            RAISED
        }
        Err(Failure::Variables(message)) => {
            give_message(message, out);
            BAD_VARIABLES
        }
        Err(Failure::Template(message)) => {
            give_message(message, out);
            FAILED
        }
    }
}

/// # Safety
/// As llava_template.h says.
#[no_mangle]
pub unsafe extern "C" fn llava_template_free(template: *mut Template) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

/// # Safety
/// As llava_template.h says.
#[no_mangle]
pub unsafe extern "C" fn llava_template_free_text(text: LlavaTemplateText) {
    drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.text, text.size)));
    drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.runs, text.num_runs)));
}
