//! Chat templates of Hugging Face checkpoints, executed within bounds and with the origin of each character; the
//! functions of llava_template.h.

mod compile;
mod environment;
mod ffi;
mod json;
mod marks;
mod methods;
mod render;
mod text;
mod values;

pub use ffi::*;
