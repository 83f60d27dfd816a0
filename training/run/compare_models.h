// How far the answers of two checkpoints, or of one in two formats, are apart.
#ifndef LLAVA_TRAINING_RUN_COMPARE_MODELS_H_
#define LLAVA_TRAINING_RUN_COMPARE_MODELS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "training/evaluate/grade.h"

namespace llava::training {

struct ComparedModel {
  std::string checkpoint;
  // float32, bfloat16 (both as llavad serves them on a CPU), int8, int4, or fp8: weights and inputs
  // of the decoder's products rounded as GPUs round them, all else in float32. A checkpoint that is
  // stored as codes takes its own format, whatever the dtype.
  std::string weights = "float32";
  std::string kv_cache = "auto";  // auto: in the numbers that the model computes with; int8; fp8
};

struct ComparisonRequest {
  ComparedModel a, b;      // b is compared to a
  std::string data;        // LLaVA rows, every question on its own (ReadEvaluationItems)
  std::string images;      // folder that their pictures are below
  std::int64_t limit = 0;  // rows; 0: all
};

struct Comparison {
  std::int64_t questions = 0;
  std::int64_t tokens = 0;  // of a's greedy answers, ends included
  // By name; intervals of 95 %, from draws of questions:
  //   kl            mean over a's tokens of the divergence of b's next token from a's, nats
  //   top1          share of a's tokens at which b would have said the same
  //   perplexity_a, perplexity_b  of a's answers by either
  //   same          share of questions with the same answer from its beginning to its end
  //   right_a, right_b  share of answers that are the rows' (IsRight)
  std::map<std::string, double> values;
  std::map<std::string, Interval> intervals;
};

// Computes on the CPU, on the calling thread and its workers. Errors name file or question; those
// of loading; INVALID_ARGUMENT for a format that is not known, no questions, or vocabularies of
// different size.
absl::StatusOr<Comparison> CompareModels(const ComparisonRequest& request);

// One JSON object, and lines for a person.
std::string ComparisonJson(const ComparisonRequest& request, const Comparison& comparison);
std::string ComparisonTable(const Comparison& comparison);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_COMPARE_MODELS_H_
