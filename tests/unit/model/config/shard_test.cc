#include "model/config/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::model {
namespace {

using ::testing::HasSubstr;

TextConfig Text() {
  TextConfig text;
  text.num_heads = 8;
  text.num_kv_heads = 4;
  text.intermediate_size = 96;
  text.head_dim = 16;
  return text;
}

TEST(ShardTest, RanksHaveEverythingOnceAndInOrder) {
  EXPECT_TRUE(LayerShard{}.is_whole());
  EXPECT_EQ(LayerShard{}.Count(96), 96);
  std::int64_t next = 0;
  for (int rank = 0; rank < 4; ++rank) {
    const LayerShard shard{rank, 4};
    EXPECT_FALSE(shard.is_whole());
    EXPECT_EQ(shard.First(96), next);
    next += shard.Count(96);
  }
  EXPECT_EQ(next, 96);
}

TEST(ShardTest, ARanksLayersHaveItsHeadsAndItsInnerPlaces) {
  const TextConfig shard = ShardOf(Text(), 4);
  EXPECT_EQ(shard.num_heads, 2);
  EXPECT_EQ(shard.num_kv_heads, 1);
  EXPECT_EQ(shard.intermediate_size, 24);
  EXPECT_EQ(shard.head_dim, 16);
  EXPECT_EQ(ShardOf(Text(), 1), Text());
}

TEST(ShardTest, WhatCannotBeDealtOutIsNamed) {
  EXPECT_TRUE(CheckShards(Text(), 1).ok());
  EXPECT_TRUE(CheckShards(Text(), 4).ok());
  const absl::Status heads = CheckShards(Text(), 3);
  EXPECT_EQ(heads.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(heads.message()),
      HasSubstr("num_attention_heads of the language model is 8, expected a multiple of 3"));
  EXPECT_THAT(std::string(CheckShards(Text(), 8).message()),
              HasSubstr("num_key_value_heads of the language model is 4"));
  TextConfig odd = Text();
  odd.intermediate_size = 97;
  EXPECT_THAT(std::string(CheckShards(odd, 2).message()),
              HasSubstr("intermediate_size of the language model is 97"));
}

}  // namespace
}  // namespace llava::model
