#include "training/data/conversation_builder.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>
#include <filesystem>
#include <fstream>

#include "base/json_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/prompt.h"
#include "tests/support/family_folder.h"
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
      HasSubstr("'v9', expected plain, v0, v1, llava_llama_2, mistral, chatml or serving"));
  EXPECT_EQ(ConversationBuilder::Make(kCheckpoint, "", {.max_length = 1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ConversationBuilder::Make("/none", "", {}).status().code(),
            absl::StatusCode::kNotFound);
}

// What transformers makes of the families' pictures (tests/golden/make_family_golden.py).
struct FamilyCase {
  std::string name;
  std::string question;
  std::vector<std::string> images;
  std::vector<int> prompt_ids;
  std::vector<int> image_tokens;
};

std::vector<FamilyCase> CasesOf(const std::string& family) {
  namespace json = boost::json;
  const std::string file = std::string(test::kFamilies) + "/" + family + "/golden.json";
  std::vector<FamilyCase> cases;
  const json::object golden = *ReadJsonObject(file);
  for (const json::value& one : golden.at("cases").as_array()) {
    cases.push_back({json::value_to<std::string>(one.at("name")),
                     json::value_to<std::string>(one.at("question")),
                     json::value_to<std::vector<std::string>>(one.at("images")),
                     json::value_to<std::vector<int>>(one.at("prompt_ids")),
                     json::value_to<std::vector<int>>(one.at("image_tokens"))});
  }
  EXPECT_FALSE(cases.empty());
  return cases;
}

Row RowOf(const FamilyCase& one) {
  std::string question;
  for (std::size_t i = 0; i < one.images.size(); ++i) question += "<image>\n";
  return {one.name, one.images, {{Speaker::kHuman, question + one.question}, {Speaker::kGpt, "A"}}};
}

ConversationBuilder MakeOf(const test::FamilyFolder& folder, ConversationOptions options) {
  options.images_dir = test::kFamilyImages;
  auto builder = ConversationBuilder::Make(folder.path(), "", options);
  EXPECT_TRUE(builder.ok()) << builder.status();
  return *std::move(builder);
}

std::vector<int> TokensOf(const Sample& sample) {
  std::vector<int> tokens;
  for (const ImageSpan& span : sample.image_spans) tokens.push_back(span.count);
  return tokens;
}

class FamilyBuilderTest : public ::testing::TestWithParam<const char*> {};

// Prompt and pictures are those of the server, the answer stands behind them.
TEST_P(FamilyBuilderTest, EveryPictureHasTheTokensThatItIsServedWith) {
  const test::FamilyFolder folder(GetParam());
  const ConversationBuilder builder = MakeOf(folder, {.chat_template = kServingTemplate});
  const auto side = static_cast<std::size_t>(builder.config().vision.image_size);
  for (const FamilyCase& one : CasesOf(GetParam())) {
    const auto samples = builder.Build(RowOf(one));
    ASSERT_TRUE(samples.ok()) << samples.status();
    ASSERT_EQ(samples->size(), 1u);
    const Sample& sample = samples->front();
    ASSERT_GT(sample.ids.size(), one.prompt_ids.size());
    EXPECT_TRUE(std::equal(one.prompt_ids.begin(), one.prompt_ids.end(), sample.ids.begin()))
        << one.name;
    EXPECT_EQ(TokensOf(sample), one.image_tokens) << one.name;
    for (std::size_t i = 0; i < sample.images.size(); ++i) {
      const SampleImage& image = sample.images[i];
      EXPECT_EQ(image.layout.tokens, one.image_tokens[i]);
      EXPECT_EQ(image.pixels.size(),
                3 * side * side * static_cast<std::size_t>(image.layout.tiles));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyBuilderTest,
                         ::testing::Values("next_mistral", "next_llama_yarn", "onevision",
                                           "vipllava", "llava_qwen2"),
                         [](const auto& family) { return std::string(family.param); });

TEST(ConversationBuilderTest, APictureWithTilesIsCutWhereTheSampleEnds) {
  const test::FamilyFolder folder("next_mistral");
  Row row{"1", {"square.png"}, {{Speaker::kHuman, "<image>\nq"}, {Speaker::kGpt, "A"}}};
  const Sample whole = MakeOf(folder, {.chat_template = "mistral"}).Build(row)->front();
  ASSERT_EQ(whole.images[0].layout.tokens, 88);
  const std::int64_t inside = whole.image_spans[0].offset + 50;
  const ConversationBuilder builder =
      MakeOf(folder, {.chat_template = "mistral", .max_length = inside});
  const Sample cut = builder.Build(row)->front();
  EXPECT_THAT(TokensOf(cut), ElementsAre(50));
  EXPECT_EQ(cut.images[0].pixels, whole.images[0].pixels);
  EXPECT_FALSE(cut.HasLabels());
}

// Under a template of its own a row is one sample, whose pictures are shown together.
TEST(ConversationBuilderTest, ASecondPictureOfOnevisionMakesTheFirstSmaller) {
  const test::FamilyFolder folder("onevision");
  Row row{"1",
          {"square.png", "panorama.png"},
          {{Speaker::kHuman, "<image>\nq"},
           {Speaker::kGpt, "A"},
           {Speaker::kHuman, "<image>\nr"},
           {Speaker::kGpt, "B"}}};
  const auto together = MakeOf(folder, {.chat_template = "chatml"}).Build(row);
  ASSERT_TRUE(together.ok()) << together.status();
  ASSERT_EQ(together->size(), 1u);
  EXPECT_THAT(TokensOf(together->front()), ElementsAre(17, 17));
  EXPECT_EQ(together->front().images[1].pixels.size(), 3u * 56 * 56);
  // As it is served, the first question is asked before anybody knows of the second picture.
  const auto served = MakeOf(folder, {.chat_template = kServingTemplate}).Build(row);
  ASSERT_TRUE(served.ok()) << served.status();
  ASSERT_EQ(served->size(), 2u);
  EXPECT_THAT(TokensOf((*served)[0]), ElementsAre(58));
  EXPECT_THAT(TokensOf((*served)[1]), ElementsAre(17, 17));
  EXPECT_EQ((*served)[1].images[0].layout.tiles, 1);
  EXPECT_NE((*served)[1].images[0].digest, (*served)[0].images[0].digest);
}

// As in the original code's first stage.
TEST(ConversationBuilderTest, WithAnAspectAPictureIsOneTile) {
  const test::FamilyFolder folder("next_mistral");
  Row row{"1", {"landscape.png"}, {{Speaker::kHuman, "<image>"}, {Speaker::kGpt, "A"}}};
  std::vector<std::vector<std::uint8_t>> pixels;
  for (const auto aspect : {model::ImageAspect::kCrop, model::ImageAspect::kPad}) {
    const ConversationBuilder builder =
        MakeOf(folder, {.chat_template = "plain", .aspect = aspect});
    const auto samples = builder.Build(row);
    ASSERT_TRUE(samples.ok()) << samples.status();
    EXPECT_THAT(TokensOf(samples->front()), ElementsAre(16));
    EXPECT_EQ(samples->front().images[0].pixels.size(), 3u * 56 * 56);
    pixels.push_back(samples->front().images[0].pixels);
  }
  EXPECT_NE(pixels[0], pixels[1]);
  const ConversationBuilder tiled = MakeOf(folder, {.chat_template = "plain"});
  const Sample sample = tiled.Build(row)->front();
  EXPECT_THAT(TokensOf(sample), ElementsAre(70));
  // The middle of it, and not the whole squeezed into a square.
  const std::vector<std::uint8_t> whole(sample.images[0].pixels.begin(),
                                        sample.images[0].pixels.begin() + 3 * 56 * 56);
  EXPECT_NE(pixels[0], whole);
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
