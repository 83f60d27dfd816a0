#include "client/batch/output.h"

#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::client {
namespace {

using testing::HasSubstr;

std::string Content(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

v1::ChatResponse Answer(const std::string& text) {
  v1::ChatResponse response;
  response.set_model("m");
  response.set_model_version("v1");
  response.mutable_usage()->set_prompt_tokens(7);
  response.mutable_usage()->set_generated_tokens(2);
  v1::ChatChoice* choice = response.add_choices();
  choice->set_text(text);
  choice->set_finish_reason(v1::FINISH_REASON_LENGTH);
  return response;
}

class BatchOutputTest : public testing::TestWithParam<const char*> {
 protected:
  std::string path() const { return dir_.path() + "/answers" + GetParam(); }
  test::TempDir dir_;
};

TEST_P(BatchOutputTest, ALaterRunKnowsTheRows) {
  {
    auto output = BatchOutput::Open(path());
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(output->done().size(), 0u);
    EXPECT_TRUE(output->AddAnswer("a, \"b\"", Answer("two\nlines")).ok());
    EXPECT_TRUE(output->AddFailure("c", "it is gone").ok());
    EXPECT_TRUE(output->Sync().ok());
  }
  const std::string before = Content(path());
  auto output = BatchOutput::Open(path());
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->done().size(), 2u);
  EXPECT_TRUE(output->done().Has("a, \"b\""));
  EXPECT_TRUE(output->done().Has("c"));
  EXPECT_FALSE(output->done().Has("d"));
  EXPECT_EQ(output->failed(), 1);
  EXPECT_EQ(Content(path()), before);
}

// The header begins so too.
TEST_P(BatchOutputTest, ALaterRunKnowsTheRowThatIsNamedId) {
  EXPECT_TRUE(BatchOutput::Open(path())->AddAnswer("id", Answer("x")).ok());
  const auto output = BatchOutput::Open(path());
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->done().Has("id"));
}

// As a kill in the middle of a write leaves it, at every byte.
TEST_P(BatchOutputTest, ARowThatIsNotWholeIsCutOff) {
  {
    auto output = BatchOutput::Open(path());
    EXPECT_TRUE(output->AddAnswer("first", Answer("x")).ok());
  }
  const std::size_t first = Content(path()).size();
  {
    auto output = BatchOutput::Open(path());
    EXPECT_TRUE(output->AddAnswer("second", Answer("\"y\", z")).ok());
  }
  const std::string whole = Content(path());
  for (std::size_t size = first; size <= whole.size(); ++size) {
    std::ofstream(path(), std::ios::trunc) << whole.substr(0, size);
    auto output = BatchOutput::Open(path());
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_TRUE(output->done().Has("first"));
    EXPECT_EQ(output->done().Has("second"), size == whole.size()) << size;
    EXPECT_EQ(Content(path()).size(), size == whole.size() ? size : first);
  }
}

TEST_P(BatchOutputTest, AnothersFileIsLeftAlone) {
  for (const char* content : {"{\"question\": 1}\n", "a,b,c\n", "\x1f\x8b\n"}) {
    std::ofstream(path(), std::ios::trunc) << content;
    const auto output = BatchOutput::Open(path());
    ASSERT_FALSE(output.ok());
    EXPECT_THAT(std::string(output.status().message()), HasSubstr("something else"));
    EXPECT_EQ(Content(path()), content);
  }
}

TEST_P(BatchOutputTest, OneRunAtATime) {
  const auto output = BatchOutput::Open(path());
  const auto second = BatchOutput::Open(path());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(BatchOutput::Open(dir_.path() + "/no/folder").status().code(),
            absl::StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Formats, BatchOutputTest, testing::Values(".jsonl", ".csv"));

TEST(BatchOutputRowsTest, EveryRowHasEveryColumn) {
  test::TempDir dir;
  const std::string json = dir.path() + "/a.jsonl";
  const std::string csv = dir.path() + "/a.csv";
  for (const std::string& path : {json, csv}) {
    auto output = BatchOutput::Open(path);
    EXPECT_TRUE(output->AddAnswer("a", Answer("t")).ok());
    EXPECT_TRUE(output->AddFailure("b", "why").ok());
  }
  EXPECT_EQ(Content(json),
            R"({"id":"a","answer":"t","finish_reason":"length","model":"m","version":"v1",)"
            R"("prompt_tokens":7,"completion_tokens":2,"error":null})"
            "\n"
            R"({"id":"b","answer":null,"finish_reason":null,"model":null,"version":null,)"
            R"("prompt_tokens":null,"completion_tokens":null,"error":"why"})"
            "\n");
  EXPECT_EQ(Content(csv),
            "id,answer,finish_reason,model,version,prompt_tokens,completion_tokens,error\r\n"
            "a,t,length,m,v1,7,2,\r\n"
            "b,,,,,,,why\r\n");
}

}  // namespace
}  // namespace llava::client
