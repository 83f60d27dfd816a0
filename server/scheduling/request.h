// One accepted question on its way to an answer: everything the scheduler and the executor need to
// know, as a plain value. Text, sockets and tensors stay outside.
#ifndef LLAVA_SERVER_SCHEDULING_REQUEST_H_
#define LLAVA_SERVER_SCHEDULING_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/picture.h"
#include "base/sampling_params.h"
#include "base/strong_id.h"

namespace llava::scheduling {

using RequestId = StrongId<struct RequestTag, std::uint64_t>;    // given by the engine
using SequenceId = StrongId<struct SequenceTag, std::uint64_t>;  // one choice of a request
using BlockId = StrongId<struct BlockTag, std::int32_t>;         // [0, number of KV blocks)
using FeatureId = StrongId<struct FeatureTag, std::uint64_t>;    // an encoded image, never reused

// A lower value goes first.
enum class Priority : std::uint8_t { kHigh = 0, kNormal = 1, kLow = 2 };

// A preprocessed image and where it stands in the prompt.
struct ImageInput {
  Digest digest;           // of the pixels and of how they were made; the cache key
  int offset = 0;          // of its first token in Request::prompt_ids
  int count = 0;           // of its tokens, at least 1 (576 for LLaVA-1.5 at 336 pixels)
  int height = 0;          // pixels after preprocessing
  int width = 0;           // pixels after preprocessing
  int tiles = 1;           // that the vision tower reads
  int picture_height = 0;  // pixels before preprocessing
  int picture_width = 0;   // pixels before preprocessing
  std::vector<std::uint8_t> pixels_CHW;           // [tiles, 3, height, width]
  std::shared_ptr<const PixelTable> pixel_table;  // what these bytes are to the vision tower
};

// A low-rank adapter of a model, as far as scheduling knows it: a name for caches. Executors know
// the concrete type of their loader. Immutable and shared: by who loaded it, and by each request
// that is computed with it, so that it is gone only when the last of them has ended.
class Adapter {
 public:
  virtual ~Adapter() = default;
  virtual const Digest& digest() const = 0;  // of all that it computes
};

// Moves to the engine once. Afterwards only the engine thread touches it.
struct Request {
  RequestId id;  // set by Engine::Submit
  std::string tenant;
  Priority priority = Priority::kNormal;
  TimePoint arrival;                        // when the front door saw it
  std::optional<TimePoint> deadline;        // of the whole answer
  Digest version;                           // of the model, from admission to the last token
  std::shared_ptr<const Adapter> adapter;   // of the language model; null: none
  Digest cache_domain;                      // what was computed for another one is not reused
  std::vector<std::int32_t> prompt_ids;     // one id per image token (their value does not matter)
  std::vector<ImageInput> images;           // by offset, disjoint, inside prompt_ids
  SamplingParams sampling;                  // validated
  int n = 1;                                // choices, at most kMaxChoices (limits.h)
  std::vector<std::int32_t> end_token_ids;  // of the model; they end an answer unless ignore_eos
};

// The adapter's name for caches; zeros without one.
Digest AdapterDigest(const Request& request);

// True when `token`, as output token number `index` (from 0), ends the answer: an end token of the
// model or a stop token id, from sampling.min_tokens on. Such a token counts as generated and is
// reported as an id, but it is not part of the text.
bool IsEndToken(const Request& request, std::int32_t token, int index);

// The seed of a choice: of sampling.seed, or else of the request's id.
std::uint64_t ChoiceSeed(const Request& request, int choice);

// Of the prompt and of all answers, if these are as long as they may be.
std::int64_t MostTokens(const Request& request);

enum class FinishReason : std::uint8_t {
  kNone,    // not finished
  kStop,    // end token, stop token id or stop string
  kLength,  // max_tokens or the context length
};

// What one request used; final in the last event of its stream.
struct Usage {
  int prompt_tokens = 0;     // image tokens included, counted once for all n choices
  int image_tokens = 0;      // of the prompt
  int cached_tokens = 0;     // of the prompt, taken from the prefix cache at the first start
  int generated_tokens = 0;  // of all choices, end tokens included
  int images_encoded = 0;    // encoder runs this request caused; 0 when the features were cached
  int preemptions = 0;
  Duration queue{};    // arrival to the first step
  Duration encode{};   // steps' encoder time while its own images were encoded
  Duration prefill{};  // first step to first token, less `encode`
  Duration decode{};   // first token to the end
  // Of these, what steps of other versions took: before the first token, and from it on.
  Duration others_first{};
  Duration others_next{};
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_REQUEST_H_
