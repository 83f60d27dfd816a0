// Asks a model all questions of a benchmark, many at a time.
#ifndef LLAVA_TRAINING_EVALUATE_ASKING_ASK_H_
#define LLAVA_TRAINING_EVALUATE_ASKING_ASK_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "training/endpoint/asking_progress.h"
#include "training/endpoint/chat_request.h"
#include "training/endpoint/endpoint.h"
#include "training/evaluate/asking/answer_store.h"
#include "training/evaluate/benchmarks/benchmark.h"

namespace llava::training {

// How a model answers.
struct AskOptions {
  std::int64_t max_tokens = 0;  // of an answer
  // Of a multiple choice the likeliest of its letters is the answer, whatever the model would say.
  // Only of a service that scores, as llavad does.
  bool scores_choices = false;
};

// What is sent for a question: greedy, with what was said before it; pictures belong to the first
// message.
ChatRequest RequestOf(const BenchQuestion& question, const AskOptions& options);

// Asks what `store` does not answer yet. A question that the model refuses (too long for it) is
// answered with that error; one that could not be asked stays open. The errors of Endpoint::Run.
// `progress`, which may be null, hears of each answer.
absl::Status AskAll(const Benchmark& benchmark, const AskOptions& options, Endpoint& endpoint,
                    AnswerStore* store, AskingProgress* progress, const std::atomic<bool>* stop);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EVALUATE_ASKING_ASK_H_
