#include "training/assemble/converted_tokenizer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/config/config.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"
#include "tests/support/layouts.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kGolden[] = "tests/golden/data/checkpoint";
constexpr int kPieces = 1000;
constexpr int kMaxLength = 512;

using Prompt = std::vector<model::PromptPart>;

// Of the template, of a user who types what the template writes, and pictures.
Prompt RandomPrompt(Rng& rng) {
  static const char* const kTexts[] = {"",      " ",      "  ",          "\n",      "the ",
                                       " of",   "USER: ", "ASSISTANT:",  "keyword", "\xC3\xA9",
                                       "</s>",  "<s>",    "<unk>",       "<image>", "</s> ",
                                       " </s>", "<im",    "\xE2\x96\x81"};
  Prompt prompt;
  int images = 0;
  for (std::uint64_t part = rng.Next() % 8; part > 0; --part) {
    if (rng.Next() % 4 == 0) {
      prompt.emplace_back(model::ImagePart{images++});
      continue;
    }
    std::string text;
    const bool control = rng.Next() % 2 == 0;
    for (std::uint64_t word = rng.Next() % 5; word > 0; --word) {
      const std::string next = kTexts[rng.Next() % std::size(kTexts)];
      if (!control || next != "<image>") text += next;  // a template has places for its pictures
    }
    prompt.emplace_back(model::TextPart{text, control});
  }
  return prompt;
}

class ConvertedTokenizerTest : public testing::Test {
 protected:
  // A folder with the golden tokenizer.model and this tokenizer_config.json.
  std::string Folder(const std::string& config) {
    const std::string folder = absl::StrCat(temp_.path(), "/", folders_++);
    std::filesystem::create_directories(folder);
    std::filesystem::copy(absl::StrCat(kGolden, "/tokenizer.model"), folder);
    EXPECT_TRUE(WriteFile(folder + "/tokenizer_config.json", config).ok());
    return folder;
  }

  static model::Tokenizer Load(const std::string& folder, model::Layout layout) {
    auto tokenizer = model::Tokenizer::Load(folder, layout);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }

  // The prompt's ids; those of pictures are the golden checkpoint's.
  std::vector<int> Ids(const Prompt& prompt, const model::Tokenizer& tokenizer,
                       model::Layout layout) const {
    model::LlavaConfig config = config_;
    config.layout = layout;
    if (layout == model::Layout::kOriginal) config.image_token_id = model::kOriginalImageTokenId;
    const auto images = static_cast<std::size_t>(
        std::count_if(prompt.begin(), prompt.end(), [](const model::PromptPart& part) {
          return std::holds_alternative<model::ImagePart>(part);
        }));
    auto built = model::BuildPrompt(prompt, tokenizer, config, model::Layouts(config, images));
    EXPECT_TRUE(built.ok()) << built.status();
    std::replace(built->ids.begin(), built->ids.end(), model::kOriginalImageTokenId, kPieces);
    return built->ids;
  }

  static std::string ToFast(const model::Tokenizer& slow, const std::string& folder) {
    const auto note = WriteFastTokenizerFiles(slow, folder);
    EXPECT_TRUE(note.ok()) << note.status();
    return *note;
  }
  static std::string ToSlow(const model::Tokenizer& fast, const std::string& folder) {
    const auto note = WriteSlowTokenizerFiles(fast, kPieces, kMaxLength, folder);
    EXPECT_TRUE(note.ok()) << note.status();
    return *note;
  }

  const model::LlavaConfig config_ = *model::ReadConfig(kGolden);
  const test::TempDir temp_;
  int folders_ = 0;
};

// Original, Hugging Face, original and Hugging Face again: each the ids of the first.
TEST_F(ConvertedTokenizerTest, EveryPromptHasTheIdsOfTheOriginal) {
  using enum model::Layout;
  for (const char* config : {R"({"legacy": false})", R"({"legacy": true})", "{}",
                             R"({"legacy": false, "add_bos_token": false})"}) {
    const model::Tokenizer first = Load(Folder(config), kOriginal);
    const std::string fast_folder = Folder("{}"), slow_folder = Folder("{}");
    EXPECT_THAT(ToFast(first, fast_folder), IsEmpty()) << config;
    const model::Tokenizer fast = Load(fast_folder, kHuggingFace);
    EXPECT_THAT(ToSlow(fast, slow_folder), IsEmpty()) << config;
    const model::Tokenizer slow = Load(slow_folder, kOriginal);
    const std::string again_folder = Folder("{}");
    EXPECT_THAT(ToFast(slow, again_folder), IsEmpty()) << config;
    const model::Tokenizer again = Load(again_folder, kHuggingFace);
    Rng rng(7);
    int pictured = 0;
    for (int i = 0; i < 2000; ++i) {
      const Prompt prompt = RandomPrompt(rng);
      const std::vector<int> ids = Ids(prompt, first, kOriginal);
      ASSERT_EQ(Ids(prompt, fast, kHuggingFace), ids) << config << " " << i;
      ASSERT_EQ(Ids(prompt, slow, kOriginal), ids) << config << " " << i;
      ASSERT_EQ(Ids(prompt, again, kHuggingFace), ids) << config << " " << i;
      ASSERT_EQ(fast.Decode(ids), first.Decode(ids)) << config << " " << i;
      pictured += std::count(ids.begin(), ids.end(), kPieces) > 0 ? 1 : 0;
    }
    EXPECT_GT(pictured, 500);
  }
}

// The same without word marks, which older slow tokenizers would put.
TEST_F(ConvertedTokenizerTest, ATokenizerWithoutWordMarksKeepsNone) {
  using enum model::Layout;
  const model::Tokenizer first =
      Load(Folder(R"({"legacy": false, "add_prefix_space": false})"), kOriginal);
  const std::string fast_folder = Folder("{}"), slow_folder = Folder("{}");
  EXPECT_THAT(ToFast(first, fast_folder), IsEmpty());
  const model::Tokenizer fast = Load(fast_folder, kHuggingFace);
  EXPECT_THAT(ToSlow(fast, slow_folder), HasSubstr("add_prefix_space"));
  const model::Tokenizer slow = Load(slow_folder, kOriginal);
  Rng rng(8);
  for (int i = 0; i < 500; ++i) {
    const Prompt prompt = RandomPrompt(rng);
    const std::vector<int> ids = Ids(prompt, first, kOriginal);
    ASSERT_EQ(Ids(prompt, fast, kHuggingFace), ids) << i;
    ASSERT_EQ(Ids(prompt, slow, kOriginal), ids) << i;
  }
}

// What the other layout cannot have is said, and only then is it so.
TEST_F(ConvertedTokenizerTest, WhatTheOriginalCodeDoesOtherwiseIsSaid) {
  using enum model::Layout;
  const Prompt pictured = {model::TextPart{"the "}, model::ImagePart{0}, model::TextPart{"\nof"}};
  const Prompt spaced = {model::TextPart{"the</s> of"}};
  const struct {
    const char* config;
    const char* note;
    const Prompt& prompt;
  } cases[] = {{R"({"legacy": false})", "behind each picture", pictured},
               {R"({"legacy": true})", "before a space", spaced}};
  for (const auto& [config, note, prompt] : cases) {
    const model::Tokenizer fast =
        Load(Folder(config), kHuggingFace);  // no tokenizer.json: Metaspace
    const std::string folder = Folder("{}");
    EXPECT_THAT(ToSlow(fast, folder), HasSubstr(note));
    const model::Tokenizer slow = Load(folder, kOriginal);
    EXPECT_EQ(Ids(prompt, slow, kOriginal).size(), Ids(prompt, fast, kHuggingFace).size() + 1);
    const Prompt plain = {model::TextPart{"the of"}};
    EXPECT_EQ(Ids(plain, slow, kOriginal), Ids(plain, fast, kHuggingFace));
  }
  const model::Tokenizer golden = Load(kGolden, kHuggingFace);
  EXPECT_THAT(ToSlow(golden, Folder("{}")), IsEmpty());
}

TEST_F(ConvertedTokenizerTest, TokensThatTakeWhiteSpaceAlongAreSaidOrKept) {
  using enum model::Layout;
  const auto config = [](const char* legacy) {
    return absl::StrCat(R"({"legacy": )", legacy,
                        R"(, "added_tokens_decoder": {"2": {"content": "</s>", "rstrip": true,
                           "special": true}}})");
  };
  const Prompt prompt = {model::TextPart{"the</s>  of"}};
  const std::string folder = Folder("{}");
  EXPECT_THAT(ToFast(Load(Folder(config("false")), kOriginal), folder), HasSubstr("</s>"));
  const model::Tokenizer slow = Load(Folder(config("true")), kOriginal);
  EXPECT_THAT(ToFast(slow, folder), IsEmpty());
  EXPECT_EQ(Ids(prompt, Load(folder, kHuggingFace), kHuggingFace), Ids(prompt, slow, kOriginal));
  const std::string back = Folder("{}");
  EXPECT_THAT(ToSlow(Load(folder, kHuggingFace), back), IsEmpty());
  EXPECT_EQ(Ids(prompt, Load(back, kOriginal), kOriginal), Ids(prompt, slow, kOriginal));
}

// Whether a mark begins what follows a special token, as in the checkpoint's own tokenizer.
TEST(WriteSlowTokenizerFilesTest, TokenizesTextsAlike) {
  for (const auto& [checkpoint, legacy] :
       {std::pair("tests/golden/data/checkpoint", true), std::pair("demo/checkpoint", false)}) {
    const test::TempDir dir;
    const auto tokenizer = model::Tokenizer::Load(checkpoint, model::Layout::kHuggingFace);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ASSERT_TRUE(
        WriteSlowTokenizerFiles(*tokenizer, tokenizer->base().size(), kMaxLength, dir.path()).ok());
    const auto config =
        boost::json::parse(*ReadFile(dir.path() + "/tokenizer_config.json", 1 << 16)).as_object();
    EXPECT_EQ(config.at("legacy").as_bool(), legacy) << checkpoint;
    EXPECT_TRUE(config.at("add_bos_token").as_bool());
    EXPECT_EQ(boost::json::value_to<std::string>(config.at("eos_token")), "</s>");
    EXPECT_EQ(config.at("model_max_length").as_int64(), 512);
    EXPECT_THAT(*ReadFile(dir.path() + "/special_tokens_map.json", 1 << 16),
                HasSubstr("\"pad_token\":\"<unk>\""));
    std::filesystem::copy_file(absl::StrCat(checkpoint, "/tokenizer.model"),
                               dir.path() + "/tokenizer.model");
    const auto slow = model::Tokenizer::Load(dir.path(), model::Layout::kOriginal);
    ASSERT_TRUE(slow.ok()) << slow.status();
    for (const char* text : {"USER: What is it?", "a</s>USER: b", "a</s>b c"}) {
      EXPECT_EQ(slow->Encode(text), tokenizer->Encode(text)) << checkpoint << ": " << text;
    }
  }
}

}  // namespace
}  // namespace llava::training
