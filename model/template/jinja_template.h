// A Jinja template of a Hugging Face checkpoint, executed by minijinja within bounds: steps, bytes,
// depth of lists and of calls, and the size of the template are limited, and nothing of the host
// can be reached. What is rendered says of each character whether a message held it.
#ifndef LLAVA_MODEL_TEMPLATE_JINJA_TEMPLATE_H_
#define LLAVA_MODEL_TEMPLATE_JINJA_TEMPLATE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/object.hpp"

struct LlavaTemplate;

namespace llava::model {

// A text of one origin.
struct TextSpan {
  std::string text;
  bool from_message = false;  // what a user, an assistant or an operator wrote
  bool generated = false;     // printed within {% generation %}; of no meaning in variables

  friend bool operator==(const TextSpan&, const TextSpan&) = default;
};

// The value of a variable that is one text of several origins. Texts are valid UTF-8.
boost::json::object SpansValue(std::span<const TextSpan> spans);

// Immutable; any thread.
class JinjaTemplate {
 public:
  // kInvalidArgument "line 3: what is wrong".
  static absl::StatusOr<JinjaTemplate> Compile(std::string_view source);

  // The text as spans, none empty, neighbours of different kinds. Strings among the variables count
  // as the template's own text, but those of SpansValue. `now`, in seconds since 1970, is the time
  // of strftime_now. Python's operations on texts (comparisons, strip, split, replace ...) see
  // texts of every origin as they are, and their results keep where each character came from.
  // Errors: kFailedPrecondition, with the template's own message, where it calls raise_exception;
  // kInvalidArgument: a message has a character that Unicode has not assigned (planes 4 to 13);
  // kInternal "line 3: what is wrong" where the template fails or does more than is allowed.
  absl::StatusOr<std::vector<TextSpan>> Render(const boost::json::object& variables,
                                               std::int64_t now) const;

 private:
  struct Free {
    void operator()(LlavaTemplate* chat_template) const;
  };
  explicit JinjaTemplate(LlavaTemplate* compiled) : compiled_(compiled) {}

  std::unique_ptr<LlavaTemplate, Free> compiled_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEMPLATE_JINJA_TEMPLATE_H_
