/* The C interface of the template engine, which is written in Rust (src/ffi.rs). Any thread. */
#ifndef LLAVA_MODEL_TEMPLATE_LLAVA_TEMPLATE_H_
#define LLAVA_MODEL_TEMPLATE_LLAVA_TEMPLATE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct LlavaTemplate;

/* Bytes of the text up to `end`, from the end of the run before. */
struct LlavaTemplateRun {
  size_t end;
  uint8_t flags; /* LLAVA_TEMPLATE_FROM_MESSAGE, LLAVA_TEMPLATE_GENERATED */
};
enum {
  LLAVA_TEMPLATE_FROM_MESSAGE = 1, /* text of a span with `true`, see llava_template_render */
  LLAVA_TEMPLATE_GENERATED = 2     /* within {% generation %} */
};

/* To be given back with llava_template_free_text. UTF-8, without a NUL at its end. */
struct LlavaTemplateText {
  const char* text;
  size_t size;
  const struct LlavaTemplateRun* runs;
  size_t num_runs;
};

enum {
  LLAVA_TEMPLATE_OK = 0,
  LLAVA_TEMPLATE_RAISED = 1,        /* the text is the template's own message (raise_exception) */
  LLAVA_TEMPLATE_BAD_VARIABLES = 2, /* the text says what is wrong with the variables */
  LLAVA_TEMPLATE_FAILED = 3         /* the text says where and why the template failed */
};

/* NULL, and a message in `error`, for what is no template within the bounds. */
struct LlavaTemplate* llava_template_compile(const char* source, size_t size,
                                             struct LlavaTemplateText* error);
void llava_template_free(struct LlavaTemplate* chat_template);

/* `variables`: an object of JSON. {"$spans": [[from_message, text]...]} in it is one text of
 * several origins. `now`: what strftime_now means, in seconds since 1970. Writes `out` always. */
int llava_template_render(const struct LlavaTemplate* chat_template, const char* variables,
                          size_t size, int64_t now, struct LlavaTemplateText* out);
void llava_template_free_text(struct LlavaTemplateText text);

#ifdef __cplusplus
}
#endif

#endif /* LLAVA_MODEL_TEMPLATE_LLAVA_TEMPLATE_H_ */
