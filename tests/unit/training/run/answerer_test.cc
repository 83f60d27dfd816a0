#include "training/run/answerer.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/json_reader.h"
#include "boost/json/serialize.hpp"
#include "boost/json/value_to.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/family_folder.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

constexpr char kCheckpoint[] = "tests/golden/data/checkpoint";
constexpr char kImages[] = "tests/golden/data/images";

class AnswererTest : public ::testing::Test {
 protected:
  AnswererTest()
      : model_(*model::Llava::Load(kCheckpoint, {})),
        answerer_(*Answerer::Make(*model_, kCheckpoint, "vicuna_v1")) {}

  std::vector<std::string> Image(const std::string& name) {
    return {std::string(kImages) + "/" + name};
  }

  std::unique_ptr<model::Llava> model_;
  Answerer answerer_;
};

TEST_F(AnswererTest, AnswersTheSameWhateverWasAskedBefore) {
  const auto first = answerer_.Ask(Image("gray.png"), "What is it?", 8);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_LE(first->ids.size(), 8u);
  ASSERT_TRUE(answerer_.Ask(Image("portrait.jpg"), "And this?", 8).ok());
  ASSERT_TRUE(answerer_.Ask({}, "No picture?", 8).ok());
  const auto again = answerer_.Ask(Image("gray.png"), "What is it?", 8);
  EXPECT_EQ(again->ids, first->ids);
  EXPECT_EQ(again->text, first->text);
}

// What transformers answers (tests/golden/make_family_golden.py), up to where this one ends.
TEST(FamilyAnswererTest, PicturesWithTilesHaveTheAnswersOfTransformers) {
  namespace json = boost::json;
  for (const std::string family : {"next_mistral", "onevision", "vipllava"}) {
    const test::FamilyFolder folder(family);
    const auto model = model::Llava::Load(folder.path(), {});
    ASSERT_TRUE(model.ok()) << model.status();
    auto answerer = Answerer::Make(**model, folder.path(), "");
    ASSERT_TRUE(answerer.ok()) << answerer.status();
    const json::object golden =
        *ReadJsonObject(std::string(test::kFamilies) + "/" + family + "/golden.json");
    for (const json::value& one : golden.at("cases").as_array()) {
      std::vector<std::string> images;
      for (const json::value& image : one.at("images").as_array()) {
        images.push_back(std::string(test::kFamilyImages) + "/" +
                         json::value_to<std::string>(image));
      }
      const auto expected = json::value_to<std::vector<int>>(one.at("answer_ids"));
      const auto answer = answerer->Ask(images, json::value_to<std::string>(one.at("question")),
                                        static_cast<int>(expected.size()));
      ASSERT_TRUE(answer.ok()) << answer.status();
      ASSERT_LE(answer->ids.size(), expected.size());
      EXPECT_TRUE(std::equal(answer->ids.begin(), answer->ids.end(), expected.begin()))
          << family << ", " << json::serialize(one.at("name"));
    }
  }
}

// A head that says "#" whatever was asked: the piece where the first hidden value is positive, its
// byte where it is negative.
TEST(StoppedAnswererTest, AnAnswerEndsWhereItsTemplateEndsIt) {
  const auto tokenizer = model::Tokenizer::Load(kCheckpoint, model::Layout::kHuggingFace);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::optional<int> piece = tokenizer->IdOf("#"), byte = tokenizer->IdOf("<0x23>");
  ASSERT_TRUE(piece.has_value() && byte.has_value());
  model::FixtureTensors tensors = model::GoldenTensors();
  model::FixtureTensor& head = tensors.at("language_model.lm_head.weight");
  const auto row = static_cast<std::size_t>(2 * head.shape[1]);  // bytes, bfloat16
  head.bytes.assign(head.bytes.size(), '\0');
  head.bytes.replace(row * static_cast<std::size_t>(*piece), 2, "\x80\x3f");  // 1
  head.bytes.replace(row * static_cast<std::size_t>(*byte), 2, "\x80\xbf");   // -1
  const test::TempDir dir;
  model::WriteCheckpoint(dir.path() + "/hashes", tensors);
  const auto model = model::Llava::Load(dir.path() + "/hashes", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto answer = [&](const char* chat_template) {
    return *Answerer::Make(**model, kCheckpoint, chat_template)->Ask({}, "What is it?", 8);
  };
  EXPECT_EQ(answer("vicuna_v1").text, "########");
  EXPECT_EQ(answer("llava_v0").ids.size(), 3u);
  EXPECT_EQ(answer("llava_v0").text, "");
}

TEST_F(AnswererTest, NamesAImageThatCannotBeRead) {
  EXPECT_EQ(answerer_.Ask({"/none.png"}, "?", 4).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Answerer::Make(*model_, kCheckpoint, "v9").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(AnswererTest, CountsRightAnswersAndMakesProbesOfThem) {
  // Items whose truth is what this random model says, and one that it gets wrong.
  std::vector<EvaluationItem> items;
  for (const char* kind : {"a", "a", "b"}) {
    const std::string question = "What is " + std::to_string(items.size()) + "?";
    const auto answer = answerer_.Ask(Image("gray.png"), question, 16);
    items.push_back({{"gray.png"}, question, answer->text, kind});
  }
  items[1].answer = "something else entirely";
  std::vector<std::string> wrong;
  const auto scores =
      Evaluate(answerer_, items, kImages,
               [&](const EvaluationItem& item, const Answer&) { wrong.push_back(item.question); });
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(scores->at("a").asked, 2);
  EXPECT_THAT(wrong, testing::Contains("What is 1?"));

  test::TempDir dir;
  const auto probes = MakeProbes(answerer_, items, kImages, dir.path(), 5);
  ASSERT_TRUE(probes.ok()) << probes.status();
  ASSERT_EQ(probes->size(), 2u);
  for (const model::Probe& probe : *probes) {
    EXPECT_NE(probe.prompt, "What is 1?");
    EXPECT_EQ(probe.chat_template, "vicuna_v1");
    ASSERT_EQ(probe.images.size(), 1u);
    const auto answer = answerer_.Ask({dir.path() + "/" + probe.images[0]}, probe.prompt, 16);
    EXPECT_EQ(answer->ids, probe.greedy_ids);
  }
}

}  // namespace
}  // namespace llava::training
