#include "server/registry/processor.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/detokenizer.h"

namespace llava::registry {
namespace {

using model::ImagePart;
using testing::HasSubstr;

constexpr char kCheckpoint[] = "tests/golden/data/checkpoint";
constexpr int kImageTokens = 16;  // of that checkpoint

std::string ImageFile(const std::string& name) {
  auto bytes = ReadFile("tests/golden/data/images/" + name, 1 << 20);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.value_or("");
}

class ProcessorTest : public testing::Test {
 protected:
  void SetUp() override {
    auto processor = Processor::Load(kCheckpoint, "");
    ASSERT_TRUE(processor.ok()) << processor.status();
    processor_ = *std::move(processor);
  }

  absl::StatusOr<PreparedPrompt> Prepare(std::vector<model::MessagePart> parts,
                                         const std::vector<std::string>& files,
                                         const model::ImageLimits& limits = {}) {
    const std::vector<model::ChatMessage> messages = {{model::Role::kUser, std::move(parts)}};
    const std::vector<absl::string_view> images(files.begin(), files.end());
    bad_image_ = -1;
    return processor_->Prepare(messages, images, limits, &bad_image_);
  }

  std::shared_ptr<const Processor> processor_;
  int bad_image_ = -1;
};

TEST_F(ProcessorTest, KnowsTheFormsOfItsTokens) {
  const auto constraint =
      processor_->Constrain({.kind = model::AnswerFormat::Kind::kChoice, .choices = {"yes", "no"}});
  ASSERT_TRUE(constraint.ok()) << constraint.status();
  const auto answer = (*constraint)->Begin();
  const auto allowed = answer->Allowed();
  ASSERT_TRUE(allowed.ok()) << allowed.status();
  const std::int32_t end = processor_->end_token_ids().front();
  EXPECT_EQ((*allowed)[static_cast<std::size_t>(end) / 32] >> (end % 32) & 1, 0u);
  const auto wrong =
      processor_->Constrain({.kind = model::AnswerFormat::Kind::kRegex, .text = "("});
  EXPECT_TRUE(absl::IsInvalidArgument(wrong.status())) << wrong.status();
}

TEST_F(ProcessorTest, PreparesTextAndImagesInTheirPlaces) {
  const auto prepared = Prepare({ImagePart{1}, std::string("of the"), ImagePart{0}},
                                {ImageFile("landscape.png"), ImageFile("portrait.jpg")});
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  ASSERT_EQ(prepared->images.size(), 2u);
  const int side = processor_->config().vision.image_size;
  int end = 0;
  for (const scheduling::ImageInput& image : prepared->images) {
    EXPECT_GE(image.offset, end);
    EXPECT_EQ(image.count, kImageTokens);
    EXPECT_EQ(image.height, side);
    EXPECT_EQ(image.width, side);
    EXPECT_EQ(image.pixels_CHW.size(), std::size_t{3} * side * side);
    ASSERT_NE(image.pixel_table, nullptr);
    const auto first = prepared->prompt_ids.begin() + image.offset;
    EXPECT_EQ(std::count(first, first + image.count, processor_->config().image_token_id),
              image.count);
    end = image.offset + image.count;
  }
  EXPECT_NE(prepared->images[0].digest, prepared->images[1].digest);
  // Image 1 comes first: prepared alone it is the same.
  const auto alone = Prepare({ImagePart{0}}, {ImageFile("portrait.jpg")});
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(alone->images[0].digest, prepared->images[0].digest);
}

TEST_F(ProcessorTest, NamesTheImageWhoseHeaderIsBad) {
  const auto prepared =
      Prepare({ImagePart{0}, ImagePart{1}}, {ImageFile("gray.png"), "this is no picture"});
  EXPECT_EQ(prepared.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(bad_image_, 1);
}

TEST_F(ProcessorTest, NamesTheImageThatDoesNotDecode) {
  const std::string whole = ImageFile("portrait.jpg");
  const auto prepared = Prepare({ImagePart{0}, ImagePart{1}},
                                {whole.substr(0, whole.size() / 2), ImageFile("gray.png")});
  EXPECT_EQ(prepared.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(bad_image_, 0);
}

TEST_F(ProcessorTest, LimitsAreKept) {
  const auto prepared =
      Prepare({ImagePart{0}}, {ImageFile("gray.png")}, {.max_bytes = 1 << 20, .max_pixels = 4});
  EXPECT_EQ(prepared.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(bad_image_, 0);
}

TEST_F(ProcessorTest, AWrongTextBlamesNoImage) {
  const auto prepared = Prepare({ImagePart{0}, ImagePart{0}}, {ImageFile("gray.png")});
  EXPECT_EQ(prepared.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(prepared.status().message()), HasSubstr("images"));
  EXPECT_EQ(bad_image_, -1);
}

TEST_F(ProcessorTest, DecodersEndAtAStopString) {
  const auto make = processor_->MakeDecoderFactory({"the"});
  const auto decoder = make();
  EXPECT_TRUE(decoder->may_stop());
  EXPECT_FALSE(processor_->MakeDecoderFactory({})()->may_stop());
  std::string text;
  bool stopped = false;
  for (const int id : processor_->tokenizer().Encode(std::string("of the of"))) {
    const engine::TextDecoder::Delta delta = decoder->Push(id);
    text += delta.text;
    stopped = delta.stopped;
    if (stopped) break;
  }
  EXPECT_TRUE(stopped);
  EXPECT_THAT(text, testing::Not(HasSubstr("the")));
  EXPECT_FALSE(make()->Push(processor_->tokenizer().Encode(std::string("of")).front()).stopped);
}

TEST_F(ProcessorTest, DecodersEndWhereTheTemplateEndsATurn) {
  const auto v0 = Processor::Load(kCheckpoint, "", "llava_v0");
  ASSERT_TRUE(v0.ok()) << v0.status();
  const auto ends_at_separator = [](const Processor& processor) {
    const auto decoder = processor.MakeDecoderFactory({})();
    bool stopped = false;
    for (const int id : processor.tokenizer().Encode(std::string("A cat.###Human"))) {
      if (!decoder->may_stop()) return false;
      stopped = stopped || decoder->Push(id).stopped;
      if (stopped) break;
    }
    return stopped;
  };
  EXPECT_TRUE(ends_at_separator(**v0));
  EXPECT_FALSE(ends_at_separator(*processor_));
}

std::string TextOf(const Processor& processor, const std::vector<std::int32_t>& ids) {
  model::Detokenizer detokenizer(processor.tokenizer(), /*goes_on=*/true);
  std::string text;
  for (const std::int32_t id : ids) text += detokenizer.Push(id);
  return text + detokenizer.Finish();
}

// The turn of the assistant is written "assistant \n" by one template, and after "ASSISTANT: " with
// a space of its own by the other: what is forced are the tokens of the answer alone.
TEST_F(ProcessorTest, AnAnswerToBeScoredFollowsThePromptThatAsksForIt) {
  const std::vector<model::ChatMessage> asked = {{model::Role::kUser, {std::string("Is it?")}}};
  const std::vector<std::string> answers = {"Yes", "No, it is"};
  for (const char* name : {"hf_onevision", "vicuna_v1", "hf"}) {
    const auto processor = Processor::Load(kCheckpoint, "", name);
    ASSERT_TRUE(processor.ok()) << processor.status();
    int bad_image = -1, bad_answer = -1;
    const auto prompt = (*processor)->PrepareText(asked, {}, &bad_image);
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    std::vector<std::vector<std::int32_t>> forced;
    const auto shared =
        (*processor)->PrepareContinuations(asked, answers, {}, &bad_image, &bad_answer, &forced);
    ASSERT_TRUE(shared.ok()) << shared.status();
    EXPECT_EQ(shared->prompt_ids, prompt->prompt_ids) << name;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const std::string text = TextOf(**processor, forced.at(i));
      EXPECT_EQ(absl::StripLeadingAsciiWhitespace(text), answers[i]) << name;
      EXPECT_EQ(text.find('\n'), std::string::npos) << name;
    }
  }
}

// The templates write "\n", or a space, in front of each text of a message.
TEST_F(ProcessorTest, TheRestOfAnAnswerToBeScoredFollowsWhatWasBegun) {
  const std::vector<model::ChatMessage> begun = {
      {model::Role::kUser, {std::string("Is it?")}},
      {model::Role::kAssistant, {std::string("The answer is")}}};
  const std::vector<std::string> rests = {" Yes", "\nNo", ", it is"};
  for (const char* name : {"hf_onevision", "vicuna_v1", "hf"}) {
    const auto processor = Processor::Load(kCheckpoint, "", name);
    ASSERT_TRUE(processor.ok()) << processor.status();
    int bad_image = -1, bad_answer = -1;
    const auto prompt = (*processor)->PrepareText(begun, {}, &bad_image);
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    std::vector<std::vector<std::int32_t>> forced;
    const auto shared =
        (*processor)->PrepareContinuations(begun, rests, {}, &bad_image, &bad_answer, &forced);
    ASSERT_TRUE(shared.ok()) << shared.status();
    EXPECT_EQ(shared->prompt_ids, prompt->prompt_ids) << name;
    for (std::size_t i = 0; i < rests.size(); ++i) {
      EXPECT_EQ(TextOf(**processor, forced.at(i)), rests[i]) << name;
    }
  }
}

TEST_F(ProcessorTest, AnAnswerToBeScoredKeepsTheSpaceThatTheTemplateWouldTrim) {
  const std::string folder = testing::TempDir() + "/trimming_checkpoint";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(kCheckpoint, folder);
  const std::string source =
      "{% for m in messages %}{{ m['role'] + ':' + m['content'] | trim + '</s>' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
  std::ofstream(folder + "/chat_template.jinja") << source;
  const auto processor = Processor::Load(folder, "");
  ASSERT_TRUE(processor.ok()) << processor.status();
  const std::vector<model::ChatMessage> asked = {{model::Role::kUser, {std::string("Is it?")}}};
  const std::vector<std::string> answers = {"Yes", "\nYes", " Yes", "Yes "};
  int bad_image = -1, bad_answer = -1;
  std::vector<std::vector<std::int32_t>> forced;
  const auto shared =
      (*processor)->PrepareContinuations(asked, answers, {}, &bad_image, &bad_answer, &forced);
  ASSERT_TRUE(shared.ok()) << shared.status();
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(TextOf(**processor, forced.at(i)), answers[i]);
  }
}

TEST_F(ProcessorTest, TheRestOfAnAnswerKeepsTheSpaceInFrontOfIt) {
  const auto text_of = [&](bool goes_on) {
    const auto decoder = processor_->MakeDecoderFactory({}, goes_on)();
    std::string text;
    for (const int id : processor_->tokenizer().Encode(std::string("of the"))) {
      text += decoder->Push(id).text;
    }
    return text + decoder->Finish().text;
  };
  EXPECT_EQ(text_of(false), "of the");
  EXPECT_EQ(text_of(true), " of the");
}

TEST_F(ProcessorTest, KnowsTheTokensThatEndAnAnswer) {
  EXPECT_THAT(processor_->end_token_ids(), testing::ElementsAre(2));
}

}  // namespace
}  // namespace llava::registry
