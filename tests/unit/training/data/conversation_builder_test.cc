#include "training/data/conversation_builder.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <fstream>

#include "base/json_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/prompt.h"
#include "tests/support/layouts.h"
#include "tests/support/temp_dir.h"
#include "training/data/collator.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The tiny checkpoint of the golden tests: 16 feature rows an image, <image> is 1000.
constexpr char kCheckpoint[] = "tests/golden/data/checkpoint";
constexpr char kImages[] = "tests/golden/data/images";
constexpr int kFeatures = 16;

ConversationBuilder Make(ConversationOptions options = {}) {
  options.images_dir = kImages;
  auto builder = ConversationBuilder::Make(kCheckpoint, "", options);
  EXPECT_TRUE(builder.ok()) << builder.status();
  return *std::move(builder);
}

Row TwoQuestions() {
  return {"7",
          {"gray.png"},
          {{Speaker::kHuman, "What is it?\n<image>"},
           {Speaker::kGpt, "A grey picture."},
           {Speaker::kHuman, "Sure?"},
           {Speaker::kGpt, "Yes."}}};
}

std::string LabelledText(const ConversationBuilder& builder, const Sample& sample) {
  std::vector<int> ids;
  std::copy_if(sample.labels.begin(), sample.labels.end(), std::back_inserter(ids),
               [](int label) { return label != kIgnoreLabel; });
  return builder.tokenizer().Decode(ids);
}

TEST(ConversationBuilderTest, LabelsTheAnswersAndExpandsTheImage) {
  const ConversationBuilder builder = Make();
  const auto samples = builder.Build(TwoQuestions());
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 1u);
  const Sample& sample = (*samples)[0];
  EXPECT_EQ(sample.id, "7");
  EXPECT_EQ(sample.ids.size(), sample.labels.size());
  ASSERT_EQ(sample.image_spans.size(), 1u);
  EXPECT_EQ(sample.image_spans[0].count, kFeatures);
  EXPECT_EQ(std::count(sample.ids.begin(), sample.ids.end(), 1000), kFeatures);
  EXPECT_EQ(LabelledText(builder, sample), "A grey picture. Yes.");
  ASSERT_EQ(sample.images.size(), 1u);
  EXPECT_EQ(sample.images[0].height, 56);
  EXPECT_EQ(sample.images[0].pixels.size(), 3u * 56 * 56);
  EXPECT_EQ(sample.truncated_tokens, 0);
}

// What is trained is what is served: the question's ids are those of the serving prompt.
TEST(ConversationBuilderTest, BeginsWithTheServingPrompt) {
  const ConversationBuilder builder = Make();
  const auto samples = builder.Build(TwoQuestions());
  const std::vector<model::ChatMessage> messages = {
      {model::Role::kUser, {model::ImagePart{0}, std::string("What is it?")}}};
  const auto prompt = model::BuildPrompt(messages, *TrainingTemplate("v1"), builder.tokenizer(),
                                         builder.config(), model::Layouts(builder.config(), 1));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  const Sample& sample = (*samples)[0];
  ASSERT_GT(sample.ids.size(), prompt->ids.size());
  EXPECT_TRUE(std::equal(prompt->ids.begin(), prompt->ids.end(), sample.ids.begin()));
  EXPECT_EQ(sample.labels[prompt->ids.size() - 1], kIgnoreLabel);
  EXPECT_EQ(sample.labels[prompt->ids.size()], sample.ids[prompt->ids.size()]);
}

// Under the template "serving" every question is asked as llavad would ask it, in the checkpoint's
// own template, and its answer ends where generation ends.
TEST(ConversationBuilderTest, AsksEachQuestionAsItIsServed) {
  const ConversationBuilder builder =
      Make({.chat_template = kServingTemplate, .split_turns = true});
  const auto own = model::ChatTemplate::ForCheckpoint(kCheckpoint, builder.config());
  Row row = TwoQuestions();
  row.images = {"gray.png", "gray.png"};
  row.turns[0].text = "<image>\nWhat is it?\n<image>";
  const auto samples = builder.Build(row);
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 2u);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"What is it?", "A grey picture."}, {"Sure?", "Yes."}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::vector<model::ChatMessage> asked = {
        {model::Role::kUser, {model::ImagePart{0}, model::ImagePart{1}, expected[i].first}}};
    const auto prompt = model::BuildPrompt(asked, *own, builder.tokenizer(), builder.config(),
                                           model::Layouts(builder.config(), 2));
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    const Sample& sample = (*samples)[i];
    ASSERT_GT(sample.ids.size(), prompt->ids.size());
    EXPECT_TRUE(std::equal(prompt->ids.begin(), prompt->ids.end(), sample.ids.begin()));
    EXPECT_EQ(std::count(sample.labels.begin(), sample.labels.end(), kIgnoreLabel),
              std::ssize(prompt->ids));
    EXPECT_EQ(LabelledText(builder, sample), expected[i].second);
    EXPECT_EQ(sample.labels.back(), builder.config().text.eos_token_ids.front());
    EXPECT_EQ(sample.image_spans.size(), 2u);
  }
  const Row text{"t", {}, {{Speaker::kHuman, "Write <image>."}, {Speaker::kGpt, "Done."}}};
  EXPECT_TRUE((*builder.Build(text))[0].image_spans.empty());
}

// The prompt of the second question, asked after the first as llavad would ask it.
std::vector<int> SecondPrompt(const ConversationBuilder& builder,
                              const model::ChatTemplate& chat_template) {
  const std::vector<model::ChatMessage> messages = {
      {model::Role::kUser, {model::ImagePart{0}, std::string("What is it?")}},
      {model::Role::kAssistant, {std::string("A grey picture.")}},
      {model::Role::kUser, {std::string("Sure?")}}};
  return model::BuildPrompt(messages, chat_template, builder.tokenizer(), builder.config(),
                            model::Layouts(builder.config(), 1))
      ->ids;
}

// The template of this checkpoint, as LLaVA-1.5's, has no EOS behind the answers of before: the
// second is a sample of its own, whose beginning is what will be served.
TEST(ConversationBuilderTest, AServedConversationHasTheHistoryThatIsServed) {
  const ConversationBuilder builder = Make({.chat_template = kServingTemplate});
  const auto own = model::ChatTemplate::ForCheckpoint(kCheckpoint, builder.config());
  const auto samples = builder.Build(TwoQuestions());
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 2u);
  const std::vector<int> prompt = SecondPrompt(builder, *own);
  const Sample& second = (*samples)[1];
  ASSERT_GT(second.ids.size(), prompt.size());
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), second.ids.begin()));
  EXPECT_EQ(LabelledText(builder, (*samples)[0]), "A grey picture.");
  EXPECT_EQ(LabelledText(builder, second), "Yes.");
}

// Where the template repeats what was answered, with its EOS, one sample teaches every answer.
TEST(ConversationBuilderTest, OneSampleOfAConversationWhoseHistoryIsWhatWasAnswered) {
  test::TempDir dir;
  std::filesystem::copy(kCheckpoint, dir.path(), std::filesystem::copy_options::recursive);
  std::ofstream(dir.path() + "/chat_template.json")
      << R"j({"chat_template": "{% for m in messages %}{{ m['role'].upper() + ': ' }})j"
      << R"j({% if m['content'] is string %}{{ m['content'] }}{% else %})j"
      << R"j({% for p in m['content'] %}{% if p['type'] == 'image' %}<image>)j"
      << R"j({% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %})j"
      << R"j({{ eos_token if m['role'] == 'assistant' else ' ' }}{% endfor %})j"
      << R"j({% if add_generation_prompt %}ASSISTANT:{% endif %}"})j";
  ConversationOptions options{.images_dir = kImages, .chat_template = kServingTemplate};
  const auto builder = ConversationBuilder::Make(dir.path(), "", options);
  ASSERT_TRUE(builder.ok()) << builder.status();
  const auto own = model::ChatTemplate::ForCheckpoint(dir.path(), builder->config());
  ASSERT_TRUE(own.ok()) << own.status();
  Row row = TwoQuestions();
  auto samples = builder->Build(row);
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 1u);
  const std::vector<int> prompt = SecondPrompt(*builder, *own);
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), (*samples)[0].ids.begin()));
  EXPECT_EQ(LabelledText(*builder, (*samples)[0]), "A grey picture. Yes.");
  row.turns[1].is_learned = false;
  samples = builder->Build(row);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ(LabelledText(*builder, (*samples)[0]), "Yes.");
}

TEST(ConversationBuilderTest, AnAnswerThatIsNotLearnedIsMaskedInEveryTemplate) {
  const ConversationBuilder builder = Make();
  Row row = TwoQuestions();
  row.turns[1].is_learned = false;
  const auto samples = builder.Build(row);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ(LabelledText(builder, (*samples)[0]), "Yes.");
}

// The "###" that begins the first turn is learned in any case, the one behind an answer with it.
TEST(ConversationBuilderTest, AnAnswerOfV0ThatIsNotLearnedIsMasked) {
  const ConversationBuilder builder = Make({.chat_template = "v0"});
  Row row = TwoQuestions();
  auto samples = builder.Build(row);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_THAT(LabelledText(builder, (*samples)[0]),
              testing::AllOf(testing::HasSubstr("A grey picture."), testing::HasSubstr("Yes.")));
  row.turns[1].is_learned = false;
  samples = builder.Build(row);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_THAT(LabelledText(builder, (*samples)[0]),
              testing::AllOf(testing::Not(testing::HasSubstr("A grey picture.")),
                             testing::HasSubstr("Yes.")));
}

TEST(ConversationBuilderTest, SplitsTurnsWithTheImageBeforeEach) {
  const ConversationBuilder builder = Make({.split_turns = true});
  const auto samples = builder.Build(TwoQuestions());
  ASSERT_EQ(samples->size(), 2u);
  EXPECT_EQ(LabelledText(builder, (*samples)[0]), "A grey picture.");
  EXPECT_EQ(LabelledText(builder, (*samples)[1]), "Yes.");
  for (const Sample& sample : *samples) {
    EXPECT_EQ(sample.image_spans.size(), 1u);
    EXPECT_EQ(sample.images[0].digest, (*samples)[0].images[0].digest);
  }
}

TEST(ConversationBuilderTest, TruncatesAfterExpansion) {
  const Sample whole = (*Make().Build(TwoQuestions()))[0];
  const auto size = static_cast<std::int64_t>(whole.ids.size());
  const std::int64_t inside = whole.image_spans[0].offset + 5;
  for (const std::int64_t length : {size, size - 1, inside, std::int64_t{2}}) {
    const auto built = Make({.max_length = length}).Build(TwoQuestions());
    const Sample& cut = (*built)[0];
    EXPECT_EQ(static_cast<std::int64_t>(cut.ids.size()), length);
    EXPECT_EQ(cut.truncated_tokens, size - length);
    EXPECT_EQ(cut.images.size(), cut.image_spans.size());
    if (length == inside) {
      EXPECT_EQ(cut.image_spans[0].count, 5);
      EXPECT_FALSE(cut.HasLabels());
    }
    if (length == 2) {
      EXPECT_TRUE(cut.image_spans.empty());
    }
    const Batch batch = Collate({cut});
    EXPECT_EQ(batch.stats.truncated, length < size ? 1 : 0);
    EXPECT_EQ(batch.stats.masked, length <= inside ? 1 : 0);
  }
}

TEST(ConversationBuilderTest, NothingStandsBehindASlidingWindow) {
  const test::TempDir dir;
  std::filesystem::copy(kCheckpoint, dir.path());
  boost::json::object config = *ReadJsonObject(dir.path() + "/config.json");
  boost::json::object& text = config.at("text_config").as_object();
  text["model_type"] = "mistral";
  text["sliding_window"] = 30;
  std::ofstream(dir.path() + "/config.json") << boost::json::serialize(config);
  Row row{"t", {}, {{Speaker::kHuman, "What?"}, {Speaker::kGpt, "Yes"}}};
  for (int i = 0; i < 40; ++i) row.turns[1].text += " and yes";
  const auto builder = ConversationBuilder::Make(dir.path(), "", {.max_length = 100});
  ASSERT_TRUE(builder.ok()) << builder.status();
  EXPECT_THAT(builder->warnings(), ElementsAre(HasSubstr("samples are cut at 30 tokens")));
  EXPECT_EQ((*builder->Build(row))[0].ids.size(), 30u);
  const auto shorter = ConversationBuilder::Make(dir.path(), "", {.max_length = 20});
  EXPECT_TRUE(shorter->warnings().empty());
}

TEST(ConversationBuilderTest, TakesTextOnlyRowsAndPlainCaptions) {
  const ConversationBuilder builder = Make();
  const Row text{"t", {}, {{Speaker::kHuman, "Write <image>."}, {Speaker::kGpt, "Done."}}};
  const auto samples = builder.Build(text);
  EXPECT_TRUE((*samples)[0].images.empty());
  EXPECT_TRUE((*samples)[0].image_spans.empty());
  EXPECT_EQ(LabelledText(builder, (*samples)[0]), "Done.");

  const ConversationBuilder plain = Make({.chat_template = "plain"});
  Row caption = TwoQuestions();
  EXPECT_EQ(plain.Build(caption).status().code(), absl::StatusCode::kInvalidArgument);
  caption.turns.resize(2);
  EXPECT_EQ(LabelledText(plain, (*plain.Build(caption))[0]), "A grey picture.\n");
}

TEST(ConversationBuilderTest, NamesTheImageThatCannotBeRead) {
  const ConversationBuilder builder = Make();
  Row row = TwoQuestions();
  row.images = {"none.png"};
  EXPECT_EQ(builder.Build(row).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(builder.Build(row).status().message(), HasSubstr("none.png"));
  row.images = {"../manifest.json"};
  EXPECT_EQ(builder.Build(row).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(builder.Build(row).status().message(), HasSubstr("manifest.json"));
}

TEST(ConversationBuilderTest, NamesWhatIsWrongWithItsOptions) {
  EXPECT_THAT(
      ConversationBuilder::Make(kCheckpoint, "", {.chat_template = "v9"}).status().message(),
      HasSubstr("'v9', expected plain, v1, llava_llama_2, mistral, chatml or serving"));
  EXPECT_EQ(ConversationBuilder::Make(kCheckpoint, "", {.max_length = 1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ConversationBuilder::Make("/none", "", {}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(SplitTurnsTest, MovesEveryImageIntoEachQuestion) {
  const Row row{"1",
                {"a.png", "b.png"},
                {{Speaker::kHuman, "<image> x"},
                 {Speaker::kGpt, "1"},
                 {Speaker::kHuman, "y <image>"},
                 {Speaker::kGpt, "2"}}};
  const std::vector<Row> rows = SplitTurns(row);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].turns[0].text, "<image>\n<image>\nx");
  EXPECT_EQ(rows[1].turns[0].text, "<image>\n<image>\ny");
  EXPECT_THAT(rows[1].images, ElementsAre("a.png", "b.png"));
}

}  // namespace
}  // namespace llava::training
