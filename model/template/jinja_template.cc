#include "model/template/jinja_template.h"

#include <utility>

#include "absl/status/status.h"
#include "boost/json/array.hpp"
#include "boost/json/serialize.hpp"
#include "model/template/llava_template.h"

namespace llava::model {
namespace {

// A text that the engine owns.
class EngineText {
 public:
  EngineText() = default;
  EngineText(const EngineText&) = delete;
  EngineText& operator=(const EngineText&) = delete;
  ~EngineText() {
    if (text_.text != nullptr) llava_template_free_text(text_);
  }

  LlavaTemplateText* out() { return &text_; }
  std::string Message() const { return {text_.text, text_.size}; }

  std::vector<TextSpan> Spans() const {
    std::vector<TextSpan> spans;
    std::size_t begin = 0;
    for (const LlavaTemplateRun& run : std::span(text_.runs, text_.num_runs)) {
      spans.push_back({.text = std::string(text_.text + begin, run.end - begin),
                       .from_message = (run.flags & LLAVA_TEMPLATE_FROM_MESSAGE) != 0,
                       .generated = (run.flags & LLAVA_TEMPLATE_GENERATED) != 0});
      begin = run.end;
    }
    return spans;
  }

 private:
  LlavaTemplateText text_ = {};
};

}  // namespace

boost::json::object SpansValue(std::span<const TextSpan> spans) {
  boost::json::array items;
  for (const TextSpan& span : spans) {
    items.push_back(boost::json::array{span.from_message, span.text});
  }
  return {{"$spans", std::move(items)}};
}

void JinjaTemplate::Free::operator()(LlavaTemplate* chat_template) const {
  llava_template_free(chat_template);
}

absl::StatusOr<JinjaTemplate> JinjaTemplate::Compile(std::string_view source) {
  EngineText error;
  LlavaTemplate* compiled = llava_template_compile(source.data(), source.size(), error.out());
  if (compiled == nullptr) return absl::InvalidArgumentError(error.Message());
  return JinjaTemplate(compiled);
}

absl::StatusOr<std::vector<TextSpan>> JinjaTemplate::Render(const boost::json::object& variables,
                                                            std::int64_t now) const {
  const std::string json = boost::json::serialize(variables);
  EngineText text;
  switch (llava_template_render(compiled_.get(), json.data(), json.size(), now, text.out())) {
    case LLAVA_TEMPLATE_OK:
      return text.Spans();
    case LLAVA_TEMPLATE_RAISED:
      return absl::FailedPreconditionError(text.Message());
    case LLAVA_TEMPLATE_BAD_VARIABLES:
      return absl::InvalidArgumentError(text.Message());
    default:
      return absl::InternalError(text.Message());
  }
}

}  // namespace llava::model
