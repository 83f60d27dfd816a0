// The functions of llguidance.h and llava_template.h.
pub use llava_template::*;
pub use llguidance::ffi::*;
