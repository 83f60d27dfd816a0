#include "model/text/tokenizer_json.h"

#include <string>
#include <utility>

#include "base/json_reader.h"
#include "boost/json/parse.hpp"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

namespace json = boost::json;

json::object Golden() { return *ReadJsonObject("tests/golden/data/checkpoint/tokenizer.json"); }

// The golden file with one value replaced; "model.x" is nested.
json::object With(const std::string& key, const std::string& value) {
  json::object file = Golden();
  const bool nested = key.starts_with("model.");
  json::object& place = nested ? file["model"].as_object() : file;
  place[nested ? key.substr(6) : key] = json::parse(value);
  return file;
}

TEST(TokenizerJsonTest, WritesWhatItReads) {
  const std::pair<std::string, std::string> changes[] = {
      {"version", "\"1.0\""},
      {"normalizer", "null"},
      {"model.fuse_unk", "false"},
      {"model.ignore_merges", "true"},
      {"post_processor", "null"},
      {"normalizer", R"({"type": "Sequence", "normalizers": [
          {"type": "Replace", "pattern": {"Regex": "\\A"}, "content": "\u2581"},
          {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]})"},
  };
  for (const auto& [key, value] : changes) {
    const json::object file = With(key, value);
    auto read = ReadTokenizerJson(file, "tokenizer.json");
    ASSERT_TRUE(read.ok()) << read.status();
    read->settings.bos_token = "<s>";
    read->settings.add_bos = !read->first_token.empty();
    const auto tokenizer =
        Tokenizer::FromVocabulary(std::move(read->vocabulary), read->added, read->settings);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const auto written = ParseJsonObject(*TokenizerJson(*tokenizer), "tokenizer.json");
    for (const auto& [name, expected] : file) {
      EXPECT_TRUE(written->at(name) == expected) << key << ": " << name;
    }
  }
}

TEST(TokenizerJsonTest, TheStartOfATextIsNoTokenThatTheNormalizerLeavesThere) {
  const AddedToken end{.content = "</s>", .id = 2, .normalized = true};
  const AddedToken begin{.content = "<s>", .id = 1, .normalized = true};
  const AddedToken image{.content = "<image>", .id = 3};
  const AddedToken odd{.content = "[a|b]*", .id = 4, .normalized = true};
  EXPECT_EQ(TextStartExpression({image}), R"(\A)");
  EXPECT_EQ(TextStartExpression({odd, end, image, begin}), R"(\A(?!<s>|</s>|\[a\|b\]\*))");
}

}  // namespace
}  // namespace llava::model
