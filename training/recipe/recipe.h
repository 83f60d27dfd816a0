// A recipe: everything a training run depends on besides the data's bytes, in one YAML file that is
// read strictly. Paths in it are relative to the recipe's own folder.
#ifndef LLAVA_TRAINING_RECIPE_RECIPE_H_
#define LLAVA_TRAINING_RECIPE_RECIPE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "training/recipe/schedule.h"
#include "training/tracking/mlflow_options.h"

namespace llava::training {

enum class Precision { kFloat32, kBfloat16 };  // kBfloat16 keeps fp32 master weights

enum class DeviceKind { kCpu, kCuda };  // kCuda: each process has the GPU of its LOCAL_RANK

// How the matrices of the decoder's layers are held while adapters are trained beside them.
enum class BaseWeights { kNumbers, kInt8, kInt4 };

// Where the weights come from: exactly one of the two folders.
struct ModelSource {
  std::string checkpoint;    // a LLaVA checkpoint in Hugging Face's layout
  std::string from_scratch;  // config.json, tokenizer, preprocessor; the weights start at random
  // Codes (docs/formats.md) of the checkpoint's: then only the last stage may train the decoder, by
  // adapters, which are merged into the checkpoint's numbers at the end.
  BaseWeights weights = BaseWeights::kNumbers;
};

// Images that the run draws itself (training/data/scenes) instead of reading files.
struct ScenesOptions {
  std::int64_t count = 0;  // 0: none
  std::int64_t seed = 0;
  std::string level = "full";
  std::int64_t turns = 8;        // questions an image, at most
  std::int64_t comparisons = 0;  // and so many about the places of two things, at most
  bool conversations = false;    // of up to `turns` turns, instead of questions that stand alone
};

// Turns that a daemon has captured (capture/selection.h), with what people said of them.
struct CapturedOptions {
  std::string dir;        // the daemon's capture_dir; "": none
  bool up = true;         // answers with a thumb up
  bool corrected = true;  // answers that somebody corrected, as they should have been
  bool unrated = false;   // answers that nobody said anything about
  double weight = 1.0;    // rows an epoch, over the rows
};

// What becomes of pictures that are not square.
enum class PictureAspect {
  kOfModel,  // what the checkpoint says
  kCrop,     // their middle
  kPad,      // padded with the mean colour
};

// How many times as many as they are a file's rows may come in an epoch.
inline constexpr double kLeastWeight = 1e-6;
inline constexpr double kMostWeight = 1000.0;

struct DataOptions {
  ScenesOptions scenes;            // takes the place of files, images and labels
  std::vector<std::string> files;  // LLaVA JSON or JSONL, gzip'd or not, or tars
  std::vector<double> weights;     // for each file: rows an epoch, over its rows; empty: all 1
  CapturedOptions captured;        // beside the files; a run adds a file of its own for them
  std::vector<std::string> file_images;  // see DatasetOptions; of the run, not of the recipe
  std::string images;                    // the folder that rows name images in
  std::string labels;                    // what lies under each patch (objective patch_labels)
  std::string chat_template = "v1";      // see ConversationOptions
  PictureAspect aspect = PictureAspect::kOfModel;
  bool split_turns = false;        // each question of a row is a sample of its own
  std::int64_t max_length = 2048;  // tokens, images expanded
  bool group_by_length = false;    // batches of one modality and similar length
  bool stop_on_bad_row = false;    // otherwise bad rows are skipped and counted
  double max_bad_share = 0.01;     // of a stage's rows; more of them end the run
  std::int64_t workers = 2;        // threads that decode images ahead
};

// What a stage learns from.
enum class ObjectiveKind {
  kConversation,  // next token, on the labelled answers
  kPatchLabels,   // what lies under each patch, through a linear head that is thrown away
};

// Low-rank adapters in the place of the decoder's own weights (model/network/lora.h).
struct LoraOptions {
  std::int64_t rank = 0;  // 0: none
  double alpha = 16.0;
  double dropout = 0.0;
  bool use_dora = false;  // magnitudes are learned too
  // Last parts of the names of the layers that get one. Where a decoder has one matrix for several
  // of these (qkv_proj, gate_up_proj), they mean it together.
  std::vector<std::string> targets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                      "gate_proj", "up_proj", "down_proj"};
};

// Rows that a stage is not trained with, with which it is validated now and then.
struct ValidateOptions {
  // Exactly one of these three says which.
  double share = 0.0;         // of the stage's rows are held back, by whole pictures
  std::int64_t rows = 0;      // so many of them at most
  std::string file;           // LLaVA rows of their own
  std::string images;         // with `file`; "": those of the stage
  std::int64_t every = 0;     // steps; 0: never
  std::int64_t samples = 4;   // questions that the model answers then
  std::int64_t patience = 0;  // validations without a new best end the stage; 0: none do
  bool keep_best = true;      // the stage ends with the weights of the least loss

  bool wanted() const { return every > 0; }
};

struct StageOptions {
  std::string name;
  ObjectiveKind objective = ObjectiveKind::kConversation;
  bool train_vision_tower = false;
  bool train_projector = false;
  bool train_decoder = false;
  LoraOptions lora;                     // with train_decoder
  double neftune_alpha = 0.0;           // of the noise on the embeddings of texts; 0: none
  bool gradient_checkpointing = false;  // of the decoder's layers: memory for time
  DataOptions data;
  ValidateOptions validate;

  std::int64_t epochs = 1;
  std::int64_t steps = 0;        // when given, instead of epochs
  std::int64_t batch = 0;        // rows a step, over all ranks and passes
  std::int64_t micro_batch = 0;  // rows a pass on one rank; 0: as many as it takes in one pass

  double rate = 0.0;               // of everything without a rate of its own
  double projector_rate = 0.0;     // 0: `rate`
  double vision_tower_rate = 0.0;  // 0: `rate`
  double weight_decay = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double clip_norm = 1.0;  // 0: no clipping
  ScheduleOptions schedule;
};

// Questions that the trained model is asked before it is published; the shares of right answers go
// into the manifest, and some of the questions become its probes.
struct EvaluationOptions {
  ScenesOptions scenes;  // held-out ones, or:
  std::string file;      // LLaVA rows
  std::string images;
  std::int64_t limit = 0;   // rows; 0: all
  std::int64_t probes = 4;  // at most

  // What is required before the published version becomes the latest.
  std::map<std::string, double> require;  // least shares of right answers by kind, or "total"
  bool against_live = true;               // the live version is asked too, and compared
  double min_delta = -0.01;               // of the share of right answers, against it
  double confidence = 0.95;               // so sure one must be of a greater loss

  bool wanted() const { return scenes.count > 0 || !file.empty(); }
};

// One value of a recipe, as it is written there.
struct RecipeSetting {
  std::string name;  // "stages[0].rate"
  std::string value;
  // The first stage whose result depends on it; kPublishing: none does, only what is published.
  std::int64_t stage = 0;

  static constexpr std::int64_t kPublishing = -1;
};

struct Recipe {
  std::string file;  // as it was given
  std::string text;  // the file's bytes, when it was read
  std::string name;
  std::string output;  // the run's folder
  std::uint64_t seed = 42;
  Precision precision = Precision::kFloat32;
  DeviceKind device = DeviceKind::kCpu;
  ModelSource model;
  std::int64_t save_every = 500;     // steps
  std::int64_t keep = 2;             // saved states
  bool shard = false;                // several ranks: gradients and optimizer state (ZeRO stage 2)
  bool shard_weights = false;        // and the decoder's matrices (stage 3)
  double lost_after_seconds = 60.0;  // a rank without a sign of life is lost
  std::string publish;  // the folder that versions are published to; "": output/published
  std::int64_t keep_published = 0;  // of them, the newest; 0: all
  EvaluationOptions evaluation;
  std::vector<EvaluationOptions> guards;  // exams about what must not be forgotten
  bool keep_rejected = true;  // what fails is published all the same, but not as the latest
  std::vector<StageOptions> stages;
  MlflowOptions mlflow;  // who is told of the run; nothing that it does depends on it
  // What each stage's result depends on: digests over the model, the seed and the stages up to it.
  std::vector<std::string> stage_digests;
  std::vector<RecipeSetting> settings;  // all that stages or publishing depend on, in order
};

// The digest of what a run depends on that has begun the first `stages` stages; "" for none.
std::string RecipeDigest(const Recipe& recipe, std::int64_t stages);

// Every value of the recipe by its name ("stages[0].rate"), but not who is told of it.
std::vector<std::pair<std::string, std::string>> FlatRecipe(const Recipe& recipe);

// NOT_FOUND or INVALID_ARGUMENT with file, line, key and what was expected.
absl::StatusOr<Recipe> ReadRecipe(const std::string& file);

// The same of a text that stands, or will stand, in `file`, which is not looked at.
absl::StatusOr<Recipe> ParseRecipe(const std::string& text, const std::string& file);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RECIPE_RECIPE_H_
