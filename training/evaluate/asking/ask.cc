#include "training/evaluate/asking/ask.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"

namespace llava::training {

ChatRequest RequestOf(const BenchQuestion& question, const AskOptions& options) {
  ChatRequest request;
  request.max_tokens = options.max_tokens;
  for (int i = 0; options.scores_choices && i < question.choices; ++i) {
    request.choices.emplace_back(1, static_cast<char>('A' + i));
  }
  for (const auto& [asked, answered] : question.history) {
    request.messages.push_back({"user", {}, asked});
    request.messages.push_back({"assistant", {}, answered});
  }
  request.messages.push_back({"user", {}, question.prompt});
  request.messages.front().images = question.images;
  return request;
}

absl::Status AskAll(const Benchmark& benchmark, const AskOptions& options, Endpoint& endpoint,
                    AnswerStore* store, AskingProgress* progress, const std::atomic<bool>* stop) {
  const std::vector<std::size_t> open = store->Unanswered();
  const auto question_of = [&](std::int64_t index) {
    return open[static_cast<std::size_t>(index)];
  };
  const auto make = [&](std::int64_t index) -> absl::StatusOr<ChatRequest> {
    return RequestOf(benchmark.questions[question_of(index)], options);
  };
  const auto keep = [&](std::int64_t index, const absl::StatusOr<ChatReply>& reply) {
    absl::Status kept;
    if (reply.ok()) {
      const std::string text(absl::StripAsciiWhitespace(reply->text));
      kept = store->Put(question_of(index), {text, ""});
    } else if (absl::IsInvalidArgument(reply.status())) {
      kept = store->Put(question_of(index), {"", std::string(reply.status().message())});
    }
    if (progress != nullptr) progress->Answered();
    return kept;
  };
  return endpoint.Run(static_cast<std::int64_t>(open.size()), make, keep, stop);
}

}  // namespace llava::training
