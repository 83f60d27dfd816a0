#include <string>
#include <utility>
#include <vector>

#include "base/json_reader.h"
#include "boost/json/parse.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer_json.h"

namespace llava::model {
namespace {

namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;

json::object Golden() { return *ReadJsonObject("tests/golden/data/checkpoint/tokenizer.json"); }

// The golden file with one value replaced; "model.x" is nested.
json::object With(const std::string& key, const std::string& value) {
  json::object file = Golden();
  const bool nested = key.starts_with("model.");
  json::object& place = nested ? file["model"].as_object() : file;
  place[nested ? key.substr(6) : key] = json::parse(value);
  return file;
}

std::string ErrorOf(const json::object& file) {
  const auto read = ReadTokenizerJson(file, "tokenizer.json");
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << read.status();
  return std::string(read.status().message());
}

// Whatever would give other ids or another text is an error that names it.
TEST(TokenizerJsonReadTest, WhatIsNotKnownIsNamed) {
  const std::pair<std::pair<std::string, std::string>, std::vector<std::string>> cases[] = {
      {{"normalizer", R"({"type": "NFKC"})"}, {"normalizer.type", "NFKC"}},
      {{"normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})"},
       {"normalizer.normalizers[].type", "Lowercase"}},
      {{"normalizer", R"({"type": "Prepend", "prepend": "_"})"}, {"normalizer.prepend", "\"_\""}},
      {{"normalizer", R"({"type": "Replace", "pattern": {"Regex": " +"}, "content": "x"})"},
       {"normalizer.pattern.Regex", R"(\A)"}},
      {{"normalizer", R"({"type": "Replace", "pattern": {"String": " "}, "content": "x"})"},
       {"normalizer.content", "U+2581"}},
      {{"normalizer", R"({"type": "Replace", "pattern": {"String": "x"}, "content": "\u2581"})"},
       {"normalizer.pattern", "a space"}},
      {{"normalizer", R"json({"type": "Replace", "pattern": {"Regex": "\\A(?!</s>)"},
          "content": "\u2581"})json"},
       {"normalizer.pattern.Regex", R"(\A, first)"}},
      {{"normalizer", R"({"type": "Sequence", "normalizers": [
          {"type": "Prepend", "prepend": "\u2581"},
          {"type": "Replace", "pattern": {"Regex": "\\A"}, "content": "\u2581"}]})"},
       {"Regex", "without Prepend"}},
      {{"normalizer", R"({"type": "Sequence", "normalizers": [
          {"type": "Replace", "pattern": {"Regex": "\\A"}, "content": "\u2581"},
          {"type": "Prepend", "prepend": "\u2581"}]})"},
       {"prepend", "once"}},
      {{"pre_tokenizer", R"({"type": "Whitespace"})"}, {"pre_tokenizer.type", "Whitespace"}},
      {{"pre_tokenizer", R"({"type": "ByteLevel"})"}, {"add_prefix_space", "false"}},
      {{"pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": false})"},
       {"decoder.type", "ByteLevel"}},
      {{"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern":
          {"Regex": "("}, "behavior": "Isolated"}]})"},
       {"pattern.Regex", "regular expression"}},
      {{"pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed"})"},
       {"behavior", "Isolated"}},
      {{"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern":
          {"Regex": "a"}, "behavior": "Isolated"}]})"},
       {"pre_tokenizer.type", "ByteLevel at the end"}},
      {{"normalizer", R"({"type": "NFC"})"}, {"normalizer", "ByteLevel"}},
      {{"pre_tokenizer", R"({"type": "Metaspace"})"}, {"pre_tokenizer.type", "Prepend"}},
      {{"post_processor", R"({"type": "BertProcessing"})"},
       {"post_processor.type", "BertProcessing"}},
      {{"post_processor", R"({"type": "TemplateProcessing", "single": [
            {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}]})"},
       {"post_processor.single", "</s>"}},
      {{"decoder", "null"}, {"decoder", "ByteFallback"}},
      {{"decoder", R"({"type": "Metaspace"})"}, {"decoder", "Metaspace"}},
      {{"model.type", "\"Unigram\""}, {"model.type", "Unigram"}},
      {{"model.dropout", "0.5"}, {"model.dropout", "5E-1"}},
      {{"model.end_of_word_suffix", "\"</w>\""}, {"model.end_of_word_suffix", "</w>"}},
      {{"model.continuing_subword_prefix", "\"##\""}, {"model.continuing_subword_prefix", "##"}},
      {{"model.unk_token", "\"[nothing]\""}, {"model.unk_token", "[nothing]"}},
      {{"model.vocab", "[]"}, {"model.vocab", "pieces"}},
      {{"model.vocab", R"({"a": 0, "b": 0})"}, {"model.vocab.b", "no other"}},
      {{"model.vocab", R"({"a": 9999999})"}, {"model.vocab.a", "9999999"}},
      {{"model.merges", R"(["the cat"])"}, {"model.merges", "stands at 0"}},
      {{"model.merges", R"([["t"]])"}, {"model.merges", "stands at 0"}},
      {{"model.merges", "7"}, {"model.merges", "a list"}},
      {{"added_tokens", R"([{"id": 1005, "content": "<far>"}])"}, {"added_tokens", "1005"}},
      {{"added_tokens", R"([{"id": 7, "content": "<s>"}])"}, {"\"<s>\"", "id 1 (of vocab)"}},
      {{"added_tokens", R"([{"id": 1000, "content": "x", "single_word": 1}])"},
       {"added_tokens[].single_word", "1"}},
      {{"added_tokens", R"([{"content": "x"}])"}, {"added_tokens[].id", "nothing"}},
  };
  for (const auto& [change, words] : cases) {
    const std::string error = ErrorOf(With(change.first, change.second));
    for (const std::string& word : words) EXPECT_THAT(error, HasSubstr(word)) << change.second;
    EXPECT_THAT(error, HasSubstr("tokenizer.json: ")) << change.second;
  }
}

TEST(TokenizerJsonReadTest, AFileWithoutAModelSaysOnlyTheRest) {
  json::object file = Golden();
  file.erase("model");
  const auto read = ReadTokenizerJson(file, "tokenizer.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->vocabulary, nullptr);
  EXPECT_EQ(read->added.size(), 5u);
  EXPECT_EQ(read->settings.prefix, PrefixRule::kAlways);
}

TEST(TokenizerJsonReadTest, ThePostProcessorSaysWhatComesFirst) {
  EXPECT_EQ(ReadTokenizerJson(Golden(), "x")->first_token, "<s>");
  EXPECT_EQ(ReadTokenizerJson(With("post_processor", "null"), "x")->first_token, "");
  const std::string alone =
      R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}]})";
  EXPECT_EQ(ReadTokenizerJson(With("post_processor", alone), "x")->first_token, "");
}

}  // namespace
}  // namespace llava::model
