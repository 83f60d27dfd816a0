#include "training/data/train_tokenizer.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "boost/json.hpp"
#include "model/text/tokenizer_json.h"
#include "training/data/conversation_builder.h"
#include "training/data/sentencepiece_training.h"

namespace llava::training {
namespace {

namespace json = boost::json;

// The template's words stand in every prompt: once for so many lines of the corpus.
constexpr std::size_t kLinesPerTemplate = 8;

absl::StatusOr<std::vector<std::string>> ReadLines(const TokenizerOptions& options) {
  ASSIGN_OR_RETURN(const model::ChatTemplate chat_template,
                   TrainingTemplate(options.chat_template));
  const std::string words = absl::StrCat(chat_template.default_system(), " USER: ASSISTANT:");
  std::vector<std::string> lines;
  for (const std::string& path : options.corpora) {
    std::ifstream file(path);
    if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
    for (std::string line; std::getline(file, line);) {
      if (line.empty()) continue;
      lines.push_back(line);
      if (lines.size() % kLinesPerTemplate == 0) lines.push_back(words);
    }
  }
  if (lines.empty()) return absl::InvalidArgumentError("the corpus has no line");
  return lines;
}

json::object AddedToken(const char* content) {
  return {{"content", content}, {"lstrip", false},      {"normalized", false},
          {"rstrip", false},    {"single_word", false}, {"special", true}};
}

std::string ConfigJson(int vocabulary) {
  json::object added = {{"0", AddedToken("<unk>")},
                        {"1", AddedToken("<s>")},
                        {"2", AddedToken("</s>")},
                        {absl::StrCat(vocabulary), AddedToken("<image>")},
                        {absl::StrCat(vocabulary + 1), AddedToken("<pad>")}};
  return json::serialize(json::value{{"tokenizer_class", "LlamaTokenizer"},
                                     {"legacy", false},
                                     {"add_bos_token", true},
                                     {"add_eos_token", false},
                                     {"bos_token", "<s>"},
                                     {"eos_token", "</s>"},
                                     {"unk_token", "<unk>"},
                                     {"pad_token", "<pad>"},
                                     {"clean_up_tokenization_spaces", false},
                                     {"extra_special_tokens", {{"image_token", "<image>"}}},
                                     {"image_token", "<image>"},
                                     {"added_tokens_decoder", added}});
}

std::string SpecialTokensJson() {
  return json::serialize(json::value{
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}});
}

absl::Status Write(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
  return absl::OkStatus();
}

// The other files of `folder`, for the tokenizer.model of `vocabulary` pieces that it holds.
absl::Status WriteTokenizerFiles(const std::string& folder, int vocabulary) {
  std::error_code ignored;                                       // shows when it is written
  std::filesystem::remove(folder + "/tokenizer.json", ignored);  // counts before the others
  RETURN_IF_ERROR(Write(folder + "/tokenizer_config.json", ConfigJson(vocabulary)));
  RETURN_IF_ERROR(Write(folder + "/special_tokens_map.json", SpecialTokensJson()));
  // With tokenizer.model alone, versions of transformers disagree about the first word of a text.
  ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                   model::Tokenizer::Load(folder, model::Layout::kHuggingFace));
  ASSIGN_OR_RETURN(const std::string json, model::TokenizerJson(tokenizer));
  return Write(folder + "/tokenizer.json", json);
}

}  // namespace

absl::Status TrainTokenizer(const TokenizerOptions& options, const std::string& folder) {
  ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadLines(options));
  std::string model;
  const std::string error = TrainSentencepiece(lines, options.vocabulary, &model);
  if (!error.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("training a vocabulary of ", options.vocabulary,
                                                   " pieces from ", lines.size(),
                                                   " lines: ", error));
  }
  std::error_code ignored;  // shows when the files cannot be written
  std::filesystem::create_directories(folder, ignored);
  RETURN_IF_ERROR(Write(folder + "/tokenizer.model", model));
  return WriteTokenizerFiles(folder, options.vocabulary);
}

}  // namespace llava::training
