#include "model/text/bpe.h"

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/rng.h"
#include "base/utf8_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/sentencepiece_model.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<SentencepieceModel> Library() {
  std::string error;
  auto model = SentencepieceModel::FromBytes(
      *ReadFile("tests/golden/data/checkpoint/tokenizer.model", 1 << 20), &error);
  EXPECT_NE(model, nullptr) << error;
  return model;
}

std::vector<int> Ids(const Vocabulary& vocabulary, std::string_view text) {
  std::vector<int> ids;
  vocabulary.Encode(text, ids);
  return ids;
}

// ids: 0 unk, then a, b, c, ab, abc, bc
std::unique_ptr<const Bpe> Small(std::vector<Bpe::Merge> merges, Bpe::Options options = {}) {
  options.unk = 0;
  auto bpe =
      Bpe::Create({{"?", Vocabulary::Kind::kUnknown}, {"a"}, {"b"}, {"c"}, {"ab"}, {"abc"}, {"bc"}},
                  std::move(merges), options);
  EXPECT_TRUE(bpe.ok()) << bpe.status();
  return *std::move(bpe);
}

std::string Repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// Words, long stretches without any place to cut, and characters without a piece.
TEST(BpeTest, EncodesAsTheSentencepieceLibraryDoes) {
  const auto library = Library();
  const auto bpe = Bpe::FromSentencepiece(*library);
  ASSERT_NE(bpe, nullptr);
  const std::vector<std::string> atoms = {
      "the ", "of",         "statement", "in",           "a",          " ",
      "  ",   "\n",         "\u2581",    "\u65E5\u672C", "\U0001F98A", "keyword",
      "e",    "in\u2581in", "3.14",      "class ",       "t",          "h"};
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    Rng rng(seed);
    std::string text;
    for (std::uint64_t i = rng.Below(12); i > 0; --i) {
      text += Repeated(atoms[rng.Below(atoms.size())], rng.Chance(0.1) ? 40 : 1);
    }
    EXPECT_EQ(Ids(*bpe, text), Ids(*library, text)) << "seed " << seed << ": " << text;
  }
}

TEST(BpeTest, LowerRanksGoFirstAndOfEqualOnesTheLeftmost) {
  const auto left = Small({{1, 2, 4, 0}, {4, 3, 5, 1}, {2, 3, 6, 2}});
  EXPECT_THAT(Ids(*left, "abc"), ElementsAre(5));
  EXPECT_THAT(Ids(*left, "abcab"), ElementsAre(5, 4));
  const auto right = Small({{2, 3, 6, 0}, {1, 2, 4, 1}, {4, 3, 5, 2}});
  EXPECT_THAT(Ids(*right, "abc"), ElementsAre(1, 6));
  // Each long stretch like many short ones: neither table merges what ends with c and begins with
  // a.
  for (const Bpe* bpe : {left.get(), right.get()}) {
    std::vector<int> expected;
    for (int i = 0; i < 50; ++i) bpe->Encode("abc", expected);
    EXPECT_EQ(Ids(*bpe, Repeated("abc", 50)), expected);
  }
}

// A merge of a lower rank that only appears after another one of a higher rank.
TEST(BpeTest, AMergeThatBecomesPossibleLaterMayComeFirst) {
  auto bpe = *Bpe::Create({{"a"}, {"aa"}, {"aaaa"}, {"aaa"}},
                          {{1, 1, 2, 0}, {1, 0, 3, 1}, {0, 0, 1, 2}}, {});
  // The first pair makes "aa", with which "aaa" becomes possible before the next pair's turn.
  EXPECT_THAT(Ids(*bpe, "aaaa"), ElementsAre(3, 0));
  EXPECT_EQ(Ids(*bpe, Repeated("a", 3 * 67)), std::vector<int>(67, 3));
}

TEST(BpeTest, CharactersWithoutAPiece) {
  EXPECT_THAT(Ids(*Small({}), "a\u00E9\u00E9b"), ElementsAre(1, 0, 0, 2));
  EXPECT_THAT(Ids(*Small({}, {.fuse_unk = true}), "a\u00E9\u00E9b"), ElementsAre(1, 0, 2));
  const auto dropped = *Bpe::Create({{"a"}}, {}, {});
  EXPECT_THAT(Ids(*dropped, "a\u00E9a"), ElementsAre(0, 0));
}

TEST(BpeTest, ASegmentThatIsAPieceMayBeTakenWhole) {
  EXPECT_THAT(Ids(*Small({}), "abc"), ElementsAre(1, 2, 3));
  EXPECT_THAT(Ids(*Small({}, {.ignore_merges = true}), "abc"), ElementsAre(5));
  EXPECT_THAT(Ids(*Small({}, {.ignore_merges = true}), "abca"), ElementsAre(1, 2, 3, 1));
}

TEST(BpeTest, FaultsOfTablesAreNamed) {
  const auto error = [](std::vector<Bpe::Entry> entries, std::vector<Bpe::Merge> merges) {
    const auto bpe = Bpe::Create(std::move(entries), std::move(merges), {});
    EXPECT_EQ(bpe.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(bpe.status().message());
  };
  EXPECT_THAT(error({{"a"}, {"a"}}, {}), HasSubstr("\"a\" twice"));
  EXPECT_THAT(error({{"a"}, {"b"}, {"ab"}}, {{0, 1, 0, 7}}), HasSubstr("rank 7"));
  EXPECT_THAT(error({{"a"}, {"b"}, {"ab"}}, {{0, 5, 2, 0}}), HasSubstr("merges"));
  EXPECT_THAT(error({{"a"}, {"<0x01>", Vocabulary::Kind::kByte}, {"a<0x01>"}}, {{0, 1, 2, 0}}),
              HasSubstr("merges"));
}

// The way of short stretches, which looks through all pairs for each merge, would take hours.
TEST(BpeTest, AStretchOfMegabytesEnds) {
  const auto bpe = Bpe::FromSentencepiece(*Library());
  const std::string text(4 << 20, 'a');
  const std::vector<int> ids = Ids(*bpe, text);
  std::size_t bytes = 0;
  for (const int id : ids) bytes += bpe->piece(id).size();
  EXPECT_EQ(bytes, text.size());
}

}  // namespace
}  // namespace llava::model
