// One question to a language model, as the bytes of POST /chat/completions, or of POST /score where
// answers are given and asked how likely they are.
#ifndef LLAVA_TRAINING_ENDPOINT_CHAT_REQUEST_H_
#define LLAVA_TRAINING_ENDPOINT_CHAT_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/digest.h"

namespace llava::training {

struct EndpointMessage {
  std::string role;                 // "system", "user" or "assistant"
  std::vector<std::string> images;  // files, which come before the text
  std::string text;
};

struct ChatRequest {
  std::vector<EndpointMessage> messages{};
  double temperature = 0;
  std::int64_t max_tokens = 1024;
  std::optional<std::int64_t> seed{};
  // Of these answers the likeliest is wanted, as llavad's /v1/score says; empty: one that the model
  // writes. Then nothing is sampled, and the reply's text is one of these.
  std::vector<std::string> choices{};
};

// Behind the service's base URL: "/chat/completions" or "/score".
std::string RequestPath(const ChatRequest& request);

// The JSON of the request, with the pictures in it as data: URIs. Equal requests give equal bytes.
// The errors of ReadFile; INVALID_ARGUMENT names a picture whose format nobody knows by its first
// bytes.
absl::StatusOr<std::string> RequestBody(const std::string& model, const ChatRequest& request);

// The name of what is asked: everything that the answer depends on is in the body.
Digest RequestKey(const std::string& body);

// More tokens than any tokenizer makes of the prompt: one a byte, some for each message, and for
// each picture more than any known model has.
std::int64_t MostPromptTokens(const ChatRequest& request);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_CHAT_REQUEST_H_
