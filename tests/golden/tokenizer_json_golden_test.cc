// What is read from a tokenizer.json encodes and decodes as Hugging Face's tokenizers does
// (make_tokenizer_json_golden.py): the golden checkpoint's file and variants of it.
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/json_reader.h"
#include "boost/json/parse.hpp"
#include "boost/json/value_to.hpp"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"
#include "model/text/tokenizer_json.h"

namespace llava::model {
namespace {

namespace json = boost::json;

const std::string kData = "tests/golden/data";

std::string Text(const json::value& value) { return std::string(value.as_string()); }

// `file` with what the line says of its variant.
json::object Varied(json::object file, const json::object& variant) {
  json::object& model = file["model"].as_object();
  if (const json::value* set = variant.if_contains("set")) {
    for (const auto& [key, value] : set->as_object()) {
      const std::string name(key.data(), key.size());
      const bool nested = name.starts_with("model.");
      (nested ? model : file)[nested ? name.substr(6) : name] = value;
    }
  }
  if (const json::value* added = variant.if_contains("added")) {
    json::array& tokens = file["added_tokens"].as_array();
    tokens.insert(tokens.end(), added->as_array().begin(), added->as_array().end());
  }
  if (const json::value* without = variant.if_contains("without")) {
    json::object& vocab = model["vocab"].as_object();
    for (std::size_t i = 0; i < without->as_array().size(); ++i) {
      const std::string piece = Text(without->as_array()[i]);
      vocab["unused" + std::to_string(i)] = vocab.at(piece);
      vocab.erase(piece);
    }
  }
  if (variant.contains("merges_as_text")) {
    for (json::value& merge : model["merges"].as_array()) {
      merge = json::value(Text(merge.as_array()[0]) + " " + Text(merge.as_array()[1]));
    }
  }
  return file;
}

Tokenizer Build(const json::object& file) {
  auto read = ReadTokenizerJson(file, "tokenizer.json");
  EXPECT_TRUE(read.ok()) << read.status();
  auto tokenizer = Tokenizer::FromVocabulary(std::move(read->vocabulary), std::move(read->added),
                                             std::move(read->settings));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// Each text of `texts` with the variants of `file`; how many lines were compared.
int Compare(const std::string& file, const std::string& texts) {
  const json::object base = *ReadJsonObject(kData + file);
  std::ifstream in(kData + texts);
  std::string variant;
  std::vector<Tokenizer> tokenizer;  // the variant's
  int compared = 0;
  for (std::string text; std::getline(in, text);) {
    const json::object line = json::parse(text).as_object();
    if (line.contains("variant")) {
      variant = Text(line.at("variant"));
      tokenizer.clear();
      tokenizer.push_back(Build(Varied(base, line)));
      continue;
    }
    const auto ids = json::value_to<std::vector<int>>(line.at("ids"));
    if (line.contains("text")) {
      EXPECT_EQ(tokenizer[0].Encode(Text(line.at("text"))), ids)
          << variant << ": " << line.at("text");
    } else {
      EXPECT_EQ(tokenizer[0].Decode(ids), Text(line.at("decoded"))) << variant << ": " << text;
    }
    ++compared;
  }
  return compared;
}

TEST(TokenizerJsonGoldenTest, EncodesAndDecodesLikeTheReference) {
  EXPECT_GT(Compare("/checkpoint/tokenizer.json", "/text/tokenizer_json.jsonl"), 1900);
}

TEST(TokenizerJsonGoldenTest, EncodesAndDecodesBytesLikeTheReference) {
  EXPECT_GT(Compare("/families/llava_qwen2/checkpoint/tokenizer.json", "/text/byte_level.jsonl"),
            2000);
}

// Scripts, code, emoji, white space and broken UTF-8 (scripts/tokenizer-corpus --golden), by the
// golden checkpoint's tokenizer and by that of a Qwen2.
TEST(TokenizerJsonGoldenTest, EncodesTheCorpusLikeTheReference) {
  const Tokenizer marks = Build(*ReadJsonObject(kData + "/checkpoint/tokenizer.json"));
  const Tokenizer byte_level =
      Build(*ReadJsonObject(kData + "/families/llava_qwen2/checkpoint/tokenizer.json"));
  const auto digest = [](const Tokenizer& tokenizer, const std::string& text) {
    return Sha256Of(absl::StrJoin(tokenizer.Encode(text), " ")).Hex().substr(0, 16);
  };
  std::ifstream in(kData + "/text/corpus.jsonl");
  int compared = 0;
  for (std::string text; std::getline(in, text); ++compared) {
    const json::object line = json::parse(text).as_object();
    const std::string bytes = absl::HexStringToBytes(Text(line.at("bytes")));
    EXPECT_EQ(digest(marks, bytes), Text(line.at("marks"))) << text;
    EXPECT_EQ(digest(byte_level, bytes), Text(line.at("byte_level"))) << text;
  }
  EXPECT_EQ(compared, 2000);
}

}  // namespace
}  // namespace llava::model
