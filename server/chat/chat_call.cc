#include "server/chat/chat_call.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/image/image.h"

namespace llava::api {
namespace {

absl::Status Wrong(const ChatCall& call, absl::string_view field, absl::string_view message) {
  return FieldError(absl::StrCat(call.field_prefix, field), message);
}

absl::Status CheckContinuations(const ChatCall& call) {
  const auto count = static_cast<int>(call.continuations.size());
  if (count > kMaxContinuations) {
    return FieldError("choices",
                      absl::StrCat(count, " choices, expected at most ", kMaxContinuations));
  }
  for (int i = 0; i < count; ++i) {
    const std::string& text = call.continuations[static_cast<std::size_t>(i)];
    if (!text.empty() && IsValidUtf8(text)) continue;
    return FieldError(absl::StrCat("choices[", i, "]"),
                      text.empty() ? "is empty, expected text" : "is not UTF-8");
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(const ChatCall& call, const CallLimits& limits) {
  const int messages = static_cast<int>(call.messages.size());
  const int images = static_cast<int>(call.images.size());
  if (messages == 0) return Wrong(call, "messages", "is empty, expected at least one message");
  if (messages > limits.max_messages) {
    return Wrong(call, "messages",
                 absl::StrCat(messages, " messages, expected at most ", limits.max_messages));
  }
  if (images > limits.max_images) {
    return Wrong(call, "messages",
                 absl::StrCat(images, " images, expected at most ", limits.max_images));
  }
  if (!call.continuations.empty()) {
    RETURN_IF_ERROR(CheckContinuations(call));
  } else if (call.n < 1 || call.n > limits.max_n) {
    return Wrong(call, "n", absl::StrCat(call.n, " is not in [1, ", limits.max_n, "]"));
  }
  if (call.cache_salt.size() > kMaxCacheSaltBytes) {
    return Wrong(call, "cache_salt",
                 absl::StrCat("has ", call.cache_salt.size(), " bytes, expected at most ",
                              kMaxCacheSaltBytes));
  }
  if (!IsValidUtf8(call.cache_salt)) return Wrong(call, "cache_salt", "is not UTF-8");
  return absl::OkStatus();
}

// A form says itself when an answer may end.
absl::Status CheckFormat(const ChatCall& call) {
  if (!call.format.has_value() && !call.tools.is_forced()) return absl::OkStatus();
  const auto conflict = [&](absl::string_view field) {
    return Wrong(call, absl::StrCat(call.sampling_field, field),
                 absl::StrCat("cannot be used with ",
                              call.format ? call.format->field : call.tools.choice_field,
                              ", which says itself when the answer ends"));
  };
  if (call.sampling.min_tokens > 0) return conflict("min_tokens");
  if (call.sampling.ignore_eos) return conflict("ignore_eos");
  return absl::OkStatus();
}

absl::StatusOr<std::int64_t> TextBytes(const ChatCall& call, const CallLimits& limits) {
  std::int64_t bytes = 0;
  for (const model::ChatMessage& message : call.messages) {
    for (const model::MessagePart& part : message.parts) {
      if (const auto* text = std::get_if<std::string>(&part)) {
        bytes += static_cast<std::int64_t>(text->size());
      }
    }
    for (const model::ToolCall& tool_call : message.tool_calls) {
      bytes += static_cast<std::int64_t>(tool_call.arguments.size());
    }
  }
  for (const std::string& text : call.continuations) {
    bytes += static_cast<std::int64_t>(text.size());
  }
  for (const model::ToolFunction& function : call.tools.functions) {
    bytes += static_cast<std::int64_t>(function.description.size() + function.parameters.size());
  }
  if (bytes > limits.max_text_bytes) {
    return Wrong(call, "messages",
                 absl::StrCat(bytes, " bytes of text, expected at most ", limits.max_text_bytes));
  }
  return bytes;
}

absl::StatusOr<std::int64_t> CheckImage(const CallImage& image, const CallLimits& limits) {
  const model::ImageLimits image_limits{
      .max_bytes = static_cast<std::size_t>(limits.max_image_bytes),
      .max_pixels = limits.max_image_pixels};
  const auto bytes = static_cast<std::int64_t>(image.bytes.size());
  if (bytes > limits.max_image_bytes) {
    return FieldError(image.field,
                      absl::StrCat(bytes, " bytes, expected at most ", limits.max_image_bytes));
  }
  const auto header = model::ProbeImage({image.bytes.data(), image.bytes.size()});
  if (!header.ok()) return FieldError(image.field, header.status().message());
  const absl::Status fits = model::CheckImageLimits(image.bytes.size(), *header, image_limits);
  if (!fits.ok()) return FieldError(image.field, fits.message());
  return header->pixels();
}

}  // namespace

void SetContinuations(std::vector<std::string> continuations, ChatCall* call) {
  call->n = static_cast<int>(continuations.size());
  call->sampling.seed = 0;          // tells the choices apart
  call->sampling.top_logprobs = 0;  // each token's own
  call->sampling.max_tokens = 1;
  // A token is a byte at the least; what is before the text may become one more token. The real
  // number is known once they are tokens.
  for (const std::string& text : continuations) {
    call->sampling.max_tokens =
        std::max(call->sampling.max_tokens, static_cast<int>(text.size()) + 2);
  }
  call->continuations = std::move(continuations);
}

absl::StatusOr<CallWeight> CheckCall(const ChatCall& call, const CallLimits& limits) {
  RETURN_IF_ERROR(CheckCounts(call, limits));
  RETURN_IF_ERROR(
      UnderField(absl::StrCat(call.field_prefix, call.sampling_field), Validate(call.sampling)));
  RETURN_IF_ERROR(CheckFormat(call));
  RETURN_IF_ERROR(CheckToolUse(call.tools, call.format));
  RETURN_IF_ERROR(UnderField(call.field_prefix, CheckToolMessages(call.messages)));
  CallWeight weight;
  ASSIGN_OR_RETURN(weight.bytes, TextBytes(call, limits));
  for (const CallImage& image : call.images) {
    ASSIGN_OR_RETURN(const std::int64_t pixels, CheckImage(image, limits));
    weight.pixels += pixels;
    weight.bytes += static_cast<std::int64_t>(image.bytes.size());
  }
  return weight;
}

absl::Status CheckTokenIds(const ChatCall& call, int vocab_size) {
  const auto check = [&](absl::string_view field, std::int32_t id) {
    if (id >= 0 && id < vocab_size) return absl::OkStatus();
    return Wrong(call, absl::StrCat(call.sampling_field, field),
                 absl::StrCat(id, " is no token id, expected 0 to ", vocab_size - 1));
  };
  for (const auto& [id, bias] : call.sampling.logit_bias) {
    RETURN_IF_ERROR(check(absl::StrCat("logit_bias[", id, "]"), id));
  }
  for (std::size_t i = 0; i < call.sampling.stop_token_ids.size(); ++i) {
    RETURN_IF_ERROR(
        check(absl::StrCat("stop_token_ids[", i, "]"), call.sampling.stop_token_ids[i]));
  }
  return absl::OkStatus();
}

}  // namespace llava::api
