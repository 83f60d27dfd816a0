// The golden checkpoint taken apart: a Llama and a CLIP tower in folders of their own, as the hub
// has them.
#ifndef LLAVA_TESTS_UNIT_TRAINING_ASSEMBLE_PARTS_FOLDERS_H_
#define LLAVA_TESTS_UNIT_TRAINING_ASSEMBLE_PARTS_FOLDERS_H_

#include <ATen/core/Tensor.h>

#include <boost/json.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "base/durable_file.h"
#include "base/json_reader.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/network/weights.h"
#include "model/tensors/tensor_files.h"
#include "tests/support/temp_dir.h"
#include "training/assemble/assemble.h"

namespace llava::training {

// 1000 pieces, then <image> and <pad>.
inline constexpr char kGolden[] = "tests/golden/data/checkpoint";
inline constexpr int kPieces = 1000;

struct PartsFolders {
  test::TempDir temp;
  std::string language = temp.path() + "/language";
  std::string tower = temp.path() + "/tower";
  std::string out = temp.path() + "/out";
  std::map<std::string, at::Tensor> language_tensors;  // by their names in the folder
  std::map<std::string, at::Tensor> tower_tensors;

  PartsFolders() {
    std::filesystem::create_directories(language);
    std::filesystem::create_directories(tower);
    const auto golden = model::Checkpoint::Open(kGolden);
    EXPECT_TRUE(golden.ok()) << golden.status();
    for (const auto& [name, stored] : golden->tensors()) Sort(name, *model::TensorOf(stored));
    WriteConfigs();
    std::filesystem::copy(std::string(kGolden) + "/tokenizer.model", language);
    const boost::json::object tokenizer = {{"tokenizer_class", "LlamaTokenizer"},
                                           {"legacy", false},
                                           {"bos_token", "<s>"},
                                           {"eos_token", "</s>"},
                                           {"unk_token", "<unk>"},
                                           {"pad_token", "<unk>"}};
    EXPECT_TRUE(
        WriteFile(language + "/tokenizer_config.json", boost::json::serialize(tokenizer)).ok());
    WriteWeights();
  }

  // Again, after a change of the maps.
  void WriteWeights() const {
    Write(language_tensors, language);
    Write(tower_tensors, tower);
  }

  AssembleOptions Options() const {
    AssembleOptions options;
    options.parts.language_model = language;
    options.parts.vision_tower = tower;
    return options;
  }

 private:
  void Sort(const std::string& name, const at::Tensor& tensor) {
    const std::string vision = "vision_tower.", text = "language_model.";
    if (name.starts_with(vision)) tower_tensors[name.substr(vision.size())] = tensor;
    if (!name.starts_with(text)) return;
    const bool table = name.ends_with("embed_tokens.weight") || name.ends_with("lm_head.weight");
    language_tensors[name.substr(text.size())] = table ? tensor.narrow(0, 0, kPieces) : tensor;
  }

  void WriteConfigs() const {
    const auto whole = ReadJsonObject(std::string(kGolden) + "/config.json");
    EXPECT_TRUE(whole.ok()) << whole.status();
    boost::json::object text = whole->at("text_config").as_object();
    text["vocab_size"] = kPieces;
    text["model_type"] = "llama";
    text["architectures"] = {"LlamaForCausalLM"};
    EXPECT_TRUE(WriteFile(language + "/config.json", boost::json::serialize(text)).ok());
    const boost::json::object clip = {{"model_type", "clip"},
                                      {"architectures", {"CLIPModel"}},
                                      {"vision_config", whole->at("vision_config")}};
    EXPECT_TRUE(WriteFile(tower + "/config.json", boost::json::serialize(clip)).ok());
  }

  static void Write(const std::map<std::string, at::Tensor>& tensors, const std::string& folder) {
    std::vector<model::NamedTensor> list;
    for (const auto& [name, tensor] : tensors) list.push_back({name, tensor.contiguous()});
    const auto saved = model::SaveTensorsAs(folder + "/model.safetensors", list,
                                            list.front().tensor.scalar_type());
    EXPECT_TRUE(saved.ok()) << saved;
  }
};

}  // namespace llava::training

#endif  // LLAVA_TESTS_UNIT_TRAINING_ASSEMBLE_PARTS_FOLDERS_H_
