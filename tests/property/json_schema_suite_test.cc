// The JSON Schema Test Suite (https://github.com/json-schema-org/JSON-Schema-Test-Suite), which is
// not part of this repository: LLAVA_JSON_SCHEMA_SUITE names its folder tests/draft2020-12. Without
// it the test is skipped. Whatever is taken for an answer of a schema must be one.
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/grammar/grammar_compiler.h"
#include "model/text/tokenizer.h"

namespace llava::model {
namespace {

namespace json = boost::json;

struct Counts {
  int refused = 0;   // schemas
  int taken = 0;     // valid instances that are an answer
  int left_out = 0;  // valid instances that are none: in another order, mostly
  int wrong = 0;     // invalid instances that are an answer
  int kept_out = 0;  // invalid instances that are none
};

class JsonSchemaSuiteTest : public ::testing::Test {
 protected:
  bool IsAnswer(const TokenConstraint& constraint, const json::value& instance) const {
    const std::unique_ptr<ConstrainedAnswer> answer = constraint.Begin();
    std::vector<int> ids = tokenizer_.Encode(json::serialize(instance), /*control=*/false);
    ids.push_back(tokenizer_.eos_id());
    for (const int id : ids) {
      const auto allowed = answer->Allowed();
      if (!allowed.ok()) return false;
      if (((*allowed)[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) == 0) return false;
      if (id != ids.back() && !answer->Append(id).ok()) return false;
    }
    return true;
  }

  void Try(const json::object& group, const std::string& file, Counts* counts) const {
    const auto constraint = compiler_->Compile(
        {.kind = AnswerFormat::Kind::kJsonSchema, .text = json::serialize(group.at("schema"))});
    if (!constraint.ok()) {
      ++counts->refused;
      return;
    }
    for (const json::value& test : group.at("tests").as_array()) {
      const bool is_valid = test.at("valid").as_bool();
      const bool is_answer = IsAnswer(**constraint, test.at("data"));
      if (is_valid) ++(is_answer ? counts->taken : counts->left_out);
      if (!is_valid) ++(is_answer ? counts->wrong : counts->kept_out);
      EXPECT_TRUE(is_valid || !is_answer)
          << file << ": " << json::serialize(group.at("description")) << ": "
          << json::serialize(test);
    }
  }

  const Tokenizer tokenizer_ =
      *Tokenizer::Load("tests/golden/data/checkpoint", Layout::kHuggingFace);
  const std::vector<int> ends_ = {tokenizer_.eos_id()};
  const std::unique_ptr<GrammarCompiler> compiler_ =
      *GrammarCompiler::Create(tokenizer_, ends_, tokenizer_.vocab_size());
};

TEST_F(JsonSchemaSuiteTest, WhatIsTakenIsValid) {
  const char* folder = std::getenv("LLAVA_JSON_SCHEMA_SUITE");
  if (folder == nullptr) GTEST_SKIP() << "LLAVA_JSON_SCHEMA_SUITE is not set";
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.insert(entry.path());
  }
  ASSERT_FALSE(files.empty()) << folder;
  std::printf("%-28s schemas refused; valid taken, left out; invalid kept out, wrong\n", "");
  for (const std::string& file : files) {
    const auto text = ReadFile(file, std::size_t{1} << 20);
    ASSERT_TRUE(text.ok()) << text.status();
    const json::value groups = json::parse(*text);
    Counts counts;
    for (const json::value& group : groups.as_array()) Try(group.as_object(), file, &counts);
    std::printf("%-28s %zu %d; %d %d; %d %d\n", std::filesystem::path(file).stem().c_str(),
                groups.as_array().size(), counts.refused, counts.taken, counts.left_out,
                counts.kept_out, counts.wrong);
  }
}

}  // namespace
}  // namespace llava::model
