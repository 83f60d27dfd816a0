// One step of the engine, decided by the scheduler and carried out by an executor: which images to
// encode, which blocks to copy, which tokens to run and where to sample. All of one model version.
//
// Every span points into memory of the scheduler and is valid until its next Tick.
#ifndef LLAVA_SERVER_SCHEDULING_PLAN_H_
#define LLAVA_SERVER_SCHEDULING_PLAN_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/sampled_token.h"
#include "base/sampling_params.h"
#include "server/scheduling/request.h"

namespace llava::scheduling {

// A piece of the vision tower's work on one picture: tiles [first_tile, first_tile + tiles) through
// the parts [first_part, first_part + parts) of the `of` parts that an executor cuts the tower and
// the projector into. Only a single tile is cut between parts.
struct EncodeSlice {
  int first_tile = 0;
  int tiles = 1;
  int first_part = 0;
  int parts = 1;
  int of = 1;

  std::int64_t work() const { return std::int64_t{tiles} * parts; }  // in parts of one tile
};

// Run the vision tower and the projector on `image`, as far as `slice` says, and after the last
// slice keep the result, [count, hidden], as `feature` until it is named in
// StepPlan::drop_features. The slices of a picture come in order, tile by tile, without gaps, in
// one step or in several; what is half done is dropped like a feature. On CPUs the bits are those
// of one slice of everything; a GPU's kernels may round a tile differently in another batch.
struct EncodeImage {
  FeatureId feature;
  const ImageInput* image;
  EncodeSlice slice = {};

  // Whether the slice is the picture's last one, or its first.
  bool is_last() const {
    return slice.first_tile + slice.tiles == image->tiles &&
           slice.first_part + slice.parts == slice.of;
  }
  bool is_first() const { return slice.first_tile == 0 && slice.first_part == 0; }
};

// Copy keys and values of all layers of block `from` to block `to`, before the forward pass. A
// step's copies may be done one after the other, or by reading all sources first: no `to` is a
// later `from`.
struct BlockCopy {
  BlockId from;
  BlockId to;
};

// Tokens [start, start + token_ids.size()) of one sequence. Token at position p has its keys and
// values in slot p % kKvBlockTokens of block blocks[p / kKvBlockTokens]. Those of positions before
// `start` are there already; those of this chunk are to be written. Several tokens (causal among
// themselves) are a chunk of a prompt, or a decode with drafts; a single one is mostly a decode.
struct Chunk {
  SequenceId sequence;
  int start = 0;
  int first_token = 0;  // row of its first token in the flattened batch
  std::span<const std::int32_t> token_ids;
  std::span<const BlockId> blocks;   // covers at least start + token_ids.size() tokens
  const Adapter* adapter = nullptr;  // that its rows are computed with; null: none
};

// Rows [first_row, first_row + count) of the flattened batch are not looked up in the embedding
// table: they are rows [feature_row, feature_row + count) of an encoded image.
struct ImageRows {
  int first_row = 0;
  FeatureId feature;
  int feature_row = 0;
  int count = 0;
};

// Sample one token from the hidden state of a row. Several samples may name the same row (the first
// tokens of n choices); they follow each other. So do those of a sequence with drafts, row by row.
struct Sample {
  int row = 0;  // in the flattened batch
  SequenceId sequence;
  // The end tokens of the model are not to be sampled while output_ids.size() + 1 < min_tokens.
  const SamplingParams* params = nullptr;
  std::span<const std::int32_t> prompt_ids;
  std::span<const std::int32_t> output_ids;  // of this choice so far
  // Randomness is a function of (seed, output_ids.size()) alone, so that neither the batch nor a
  // preemption changes an answer.
  std::uint64_t seed = 0;
  // Unless it is kNotSampled: the token that the sample before this one, of the same sequence, has
  // to have given, for this row was computed from it and it is the last of output_ids. If it gave
  // another or none, this sample's token is kNotSampled.
  std::int32_t draft = kNotSampled;
};

struct StepPlan {
  Digest version;
  std::vector<FeatureId> drop_features;  // of any version; may hold features never encoded
  std::vector<EncodeImage> encodes;
  std::vector<BlockCopy> copies;
  std::vector<Chunk> chunks;  // disjoint slots
  std::vector<ImageRows> image_rows;
  std::vector<Sample> samples;
  int total_tokens = 0;         // rows of the flattened batch
  std::int64_t total_keys = 0;  // that these rows attend to, all rows together

  bool has_work() const { return !chunks.empty() || !encodes.empty(); }  // for an executor
  void Clear();
};

// One sampled token for each of StepPlan::samples, in their order. A sample that failed by itself
// has any token, and stands among `failed`; but one behind a draft is then kNotSampled.
struct StepResult {
  std::vector<SampledToken> tokens;
  std::vector<std::pair<int, absl::Status>> failed;  // by index of the sample; ends its request
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_PLAN_H_
