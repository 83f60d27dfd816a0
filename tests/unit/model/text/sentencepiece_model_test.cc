#include "model/text/sentencepiece_model.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::ElementsAre;
using testing::Not;

using Kind = Vocabulary::Kind;

std::string Golden() { return *ReadFile("tests/golden/data/checkpoint/tokenizer.model", 1 << 20); }

std::unique_ptr<SentencepieceModel> Model(std::string_view bytes) {
  std::string error;
  auto model = SentencepieceModel::FromBytes(bytes, &error);
  EXPECT_NE(model, nullptr) << error;
  return model;
}

// A field of a protobuf message that holds bytes, of fewer than 128.
std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(bytes.size())) + bytes;
}

// A piece of ModelProto with a score of 0 and a type.
std::string Piece(const std::string& text, char type) {
  return Field(1, Field(1, text) + std::string("\x15\0\0\0\0\x18", 6) + type);
}

TEST(SentencepieceModelTest, WhatAModelSaysOfItsPieces) {
  const auto model = Model(Golden());
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->size(), 1000);
  EXPECT_EQ(model->unk_id(), 0);
  EXPECT_EQ(model->bos_id(), 1);
  EXPECT_EQ(model->eos_id(), 2);
  EXPECT_EQ(model->piece(1), "<s>");
  EXPECT_EQ(model->IdOf("</s>"), 2);
  EXPECT_EQ(model->IdOf("no such piece"), model->unk_id());
  EXPECT_EQ(model->kind(0), Kind::kUnknown);
  EXPECT_EQ(model->kind(1), Kind::kControl);
  EXPECT_EQ(model->kind(2), Kind::kControl);
  EXPECT_EQ(model->kind(3), Kind::kByte);
  EXPECT_EQ(model->piece(3), "<0x00>");
  EXPECT_EQ(model->kind(999), Kind::kText);
  EXPECT_TRUE(model->is_bpe());
  EXPECT_TRUE(model->escapes_spaces());
  EXPECT_TRUE(model->spells_bytes());
  EXPECT_FALSE(model->is_unused(999));
  EXPECT_GT(model->score(300), model->score(301));
}

// The marks are those of whoever encodes: nothing is put in front, nothing is taken away.
TEST(SentencepieceModelTest, TextIsEncodedAsItIs) {
  const auto model = Model(Golden());
  const auto text_of = [&](std::string_view text) {
    std::vector<int> ids = {7};
    model->Encode(text, ids);
    EXPECT_EQ(ids.front(), 7);  // appends
    std::string pieces;
    for (std::size_t i = 1; i < ids.size(); ++i) pieces += model->piece(ids[i]);
    return pieces;
  };
  const std::string mark = "\xE2\x96\x81";
  EXPECT_EQ(text_of("the"), "the");
  EXPECT_EQ(text_of(" the"), mark + "the");
  EXPECT_EQ(text_of("the  the "), "the" + mark + mark + "the" + mark);
  EXPECT_EQ(text_of(""), "");
}

TEST(SentencepieceModelTest, UserDefinedPiecesAreToldFromText) {
  const auto model = Model(Golden() + Piece("<image>", 4) + Piece("plain", 1) + Piece("never", 5));
  ASSERT_NE(model, nullptr);
  ASSERT_EQ(model->size(), 1003);
  EXPECT_EQ(model->kind(1000), Kind::kUserDefined);
  EXPECT_EQ(model->kind(1001), Kind::kText);
  EXPECT_TRUE(model->is_unused(1002));
  EXPECT_EQ(model->IdOf("<image>"), 1000);
}

// Later values count, as protobuf merges messages.
TEST(SentencepieceModelTest, TheTypeOfTheModelAndItsSpaces) {
  const auto with = [](const std::string& more) { return Model(Golden() + more); };
  EXPECT_FALSE(with(Field(2, std::string("\x18\x01", 2)))->is_bpe());  // unigram
  EXPECT_TRUE(with(Field(2, std::string("\x18\x02", 2)))->is_bpe());
  EXPECT_TRUE(with(Field(2, std::string("\x20\xC0\x3E", 3)))->is_bpe());  // another field
  EXPECT_FALSE(with(Field(3, std::string("\x28\0", 2)))->escapes_spaces());
  EXPECT_TRUE(with(Field(3, std::string("\x28\x01", 2)))->escapes_spaces());
}

TEST(SentencepieceModelTest, WithoutBytePiecesNothingIsSpelled) {
  const auto model = Model(Piece("<unk>", 2) + Piece("<s>", 3) + Piece("</s>", 3) + Piece("a", 1));
  ASSERT_NE(model, nullptr);
  EXPECT_FALSE(model->spells_bytes());
  EXPECT_FALSE(model->is_bpe());  // unigram is the default
  std::vector<int> ids;
  model->Encode("aba", ids);
  EXPECT_THAT(ids, ElementsAre(3, 0, 3));
}

TEST(SentencepieceModelTest, WhatIsNoModelIsRefusedWithAReason) {
  for (const std::string& bytes :
       {std::string(), std::string("not a model"), Golden().substr(0, 9000), Piece("a", 1),
        Piece("<unk>", 2) + Piece(std::string("\0piece", 6), 1)}) {
    std::string error;
    EXPECT_EQ(SentencepieceModel::FromBytes(bytes, &error), nullptr) << bytes.size();
    EXPECT_THAT(error, Not(testing::IsEmpty()));
  }
}

}  // namespace
}  // namespace llava::model
