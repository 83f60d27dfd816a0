#include "training/generate/items.h"

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/generate/scene_truth.h"
#include "training/generate/sources.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr char kDetail[] = "detail";
constexpr char kMark[] = "<image>";
constexpr std::size_t kMaxPictureBytes = std::size_t{64} << 20;  // as what is sent

// Those of the paper (its table 12).
constexpr std::array<std::string_view, 16> kDetailQuestions = {
    "Describe the following image in detail",
    "Provide a detailed description of the given image",
    "Give an elaborate explanation of the image you see",
    "Share a comprehensive rundown of the presented image",
    "Offer a thorough analysis of the image",
    "Explain the various aspects of the image before you",
    "Clarify the contents of the displayed image with great detail",
    "Characterize the image using a well-detailed description",
    "Break down the elements of the image in a detailed manner",
    "Walk through the important details of the image",
    "Portray the image with a rich, descriptive narrative",
    "Narrate the contents of the image with precision",
    "Analyze the image in a comprehensive and detailed manner",
    "Illustrate the image through a descriptive explanation",
    "Examine the image closely and share its details",
    "Write an exhaustive depiction of the given image"};

std::string DetailQuestion(const GeneratePlan& plan, const std::string& id) {
  const double chance = ChanceOf(plan, "detail question", id);
  const auto which = static_cast<std::size_t>(chance * kDetailQuestions.size());
  return std::string(kDetailQuestions[which]);
}

// What a vision model is asked behind a picture; what is to be written says the system message.
constexpr char kLook[] = "This is the picture.";

std::string PictureFile(const GeneratePlan& plan, const PictureContext& picture) {
  return plan.source.pictures.empty() ? "" : absl::StrCat(plan.source.pictures, "/", picture.image);
}

// Of the bytes that a vision model will see, as far as there are any.
absl::StatusOr<std::string> Fingerprint(const GeneratePlan& plan, const GenerateInputs& inputs) {
  Sha256 hash;
  const auto add = [&hash](const std::string& text) {
    hash.Update(absl::StrCat(text.size(), ":")).Update(text);
  };
  for (const PictureContext& picture : inputs.pictures) {
    for (const std::string& text : {picture.id, picture.image, QueryText(picture, true)}) add(text);
    const std::string file = PictureFile(plan, picture);
    if (file.empty()) continue;
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, kMaxPictureBytes));
    add(Sha256Of(bytes).Hex());
  }
  for (const FewShot& few_shot : inputs.few_shots) {
    add(few_shot.system);
    for (const auto& [captions, answer] : few_shot.samples) add(captions + answer);
  }
  return hash.Finish().Hex();
}

json::object Turn(const char* from, const std::string& value) {
  return {{"from", from}, {"value", value}};
}

}  // namespace

double ChanceOf(const GeneratePlan& plan, const std::string& what, const std::string& id) {
  const Digest digest = Sha256Of(absl::StrCat(plan.seed, "\n", what, "\n", id));
  std::uint64_t bits = 0;
  std::memcpy(&bits, digest.bytes.data(), sizeof(bits));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

absl::StatusOr<GenerateInputs> ReadInputs(const GeneratePlan& plan) {
  GenerateInputs inputs;
  ASSIGN_OR_RETURN(inputs.pictures, ReadSource(plan.source, plan.output));
  for (const GenerateKind& kind : plan.kinds) {
    ASSIGN_OR_RETURN(FewShot few_shot, ReadFewShot(kind.few_shot));
    inputs.few_shots.push_back(std::move(few_shot));
  }
  for (std::size_t picture = 0; picture < inputs.pictures.size(); ++picture) {
    for (std::size_t kind = 0; kind < plan.kinds.size(); ++kind) {
      const double chance = ChanceOf(plan, plan.kinds[kind].name, inputs.pictures[picture].id);
      if (chance < plan.kinds[kind].images) inputs.items.push_back({picture, kind});
    }
  }
  if (inputs.items.empty()) return absl::InvalidArgumentError("the plan asks about no picture");
  ASSIGN_OR_RETURN(inputs.fingerprint, Fingerprint(plan, inputs));
  return inputs;
}

ChatRequest RequestOf(const GeneratePlan& plan, const GenerateInputs& inputs,
                      const GenerateItem& item, int attempt) {
  const GenerateKind& kind = plan.kinds[item.kind];
  ChatRequest request;
  const PictureContext& picture = inputs.pictures[item.picture];
  const std::string file = PictureFile(plan, picture);
  request.messages = FewShotMessages(inputs.few_shots[item.kind],
                                     file.empty() ? QueryText(picture, kind.boxes) : kLook);
  if (!file.empty()) request.messages.back().images = {file};
  request.temperature = kind.temperature;
  request.max_tokens = kind.max_tokens;
  request.seed = plan.seed + attempt - 1;
  return request;
}

ParsedReply ReadReply(const GeneratePlan& plan, const GenerateInputs& inputs,
                      const GenerateItem& item, const std::string& reply, bool truncated) {
  const PictureContext& picture = inputs.pictures[item.picture];
  ParsedReply parsed = plan.kinds[item.kind].name == kDetail
                           ? ParseDescription(reply, DetailQuestion(plan, picture.id))
                           : ParseDialogue(reply);
  if (truncated) parsed.rejected = "truncated";
  Accept(plan.accept, &parsed);
  if (plan.source.scenes > 0) AcceptTrue(picture, &parsed);
  return parsed;
}

std::string RowJson(const GeneratePlan& plan, const PictureContext& picture,
                    const std::string& kind, const Dialogue& dialogue, const std::string& key,
                    const std::string& model, int attempt) {
  const std::string id = absl::StrCat(picture.id, "-", kind);
  json::array turns, kinds;
  for (const auto& [question, answer] : dialogue) {
    std::string asked = question;
    if (turns.empty()) {
      const bool first = ChanceOf(plan, "image first", id) < 0.5;
      asked = first ? absl::StrCat(kMark, "\n", question) : absl::StrCat(question, "\n", kMark);
    }
    turns.push_back(Turn("human", asked));
    turns.push_back(Turn("gpt", answer));
    kinds.push_back(json::string(kind));
  }
  return json::serialize(json::object{{"id", id},
                                      {"image", plan.image_prefix + picture.image},
                                      {"conversations", std::move(turns)},
                                      {"kinds", std::move(kinds)},
                                      {"provenance", json::object{{"source_id", picture.id},
                                                                  {"kind", kind},
                                                                  {"model", model},
                                                                  {"key", key},
                                                                  {"attempt", attempt}}}});
}

}  // namespace llava::training
