#include "training/data/tar/shard_names.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ShardNamesTest, ARangeStandsForEachNumberWithAsManyDigits) {
  EXPECT_THAT(*ShardNames("d/train-{000009..000011}.tar"),
              ElementsAre("d/train-000009.tar", "d/train-000010.tar", "d/train-000011.tar"));
  EXPECT_THAT(*ShardNames("{9..10}.tar"), ElementsAre("9.tar", "10.tar"));
  EXPECT_THAT(*ShardNames("a-{7..7}"), ElementsAre("a-7"));
}

TEST(ShardNamesTest, OtherBracesAreAPartOfAName) {
  for (const char* name : {"a.tar", "{a..b}.tar", "{1..}.tar", "{1,2}.tar", "{1..2.tar", "{.tar",
                           "{1234567890123..1234567890124}", "{-1..2}", ""}) {
    EXPECT_THAT(*ShardNames(name), ElementsAre(name));
  }
  EXPECT_THAT(*ShardNames("{x}-{1..2}"), ElementsAre("{x}-1", "{x}-2"));
}

TEST(ShardNamesTest, SaysWhatIsWrong) {
  const auto refusal = [](const char* name) {
    const auto names = ShardNames(name);
    EXPECT_EQ(names.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(names.status().message());
  };
  EXPECT_THAT(refusal("{1..2}-{1..2}.tar"), HasSubstr("two ranges"));
  EXPECT_THAT(refusal("{5..4}.tar"), HasSubstr("ends before it begins"));
  EXPECT_THAT(refusal("{0..999999999999}.tar"), HasSubstr("more than 100000 files"));
}

}  // namespace
}  // namespace llava::training
