#include "training/distributed/rank_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace llava::training {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<RankPlace> Read(const std::map<std::string, std::string>& variables) {
  return ReadRankPlace([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(RankPlaceTest, ARunOfItsOwnWithoutVariables) {
  const auto place = Read({{"RANK", "3"}});
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(place->size, 1);
  EXPECT_EQ(place->rank, 0);
}

TEST(RankPlaceTest, ReadsWhatTorchrunSets) {
  const auto place = Read({{"RANK", "5"},
                           {"WORLD_SIZE", "8"},
                           {"LOCAL_RANK", "1"},
                           {"MASTER_ADDR", "trainer-0.trainer"},
                           {"MASTER_PORT", "29500"}});
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->rank, 5);
  EXPECT_EQ(place->size, 8);
  EXPECT_EQ(place->local_rank, 1);
  EXPECT_EQ(place->address, "trainer-0.trainer");
  EXPECT_EQ(place->port, 29500);
  EXPECT_EQ(place->agent_prefix, "");
}

TEST(RankPlaceTest, AnAttemptOfTorchrunHasKeysOfItsOwnInItsStore) {
  std::map<std::string, std::string> variables = {{"RANK", "0"},
                                                  {"WORLD_SIZE", "2"},
                                                  {"MASTER_ADDR", "a"},
                                                  {"MASTER_PORT", "1"},
                                                  {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                                  {"TORCHELASTIC_RESTART_COUNT", "0"}};
  const auto first = Read(variables);
  variables["TORCHELASTIC_RESTART_COUNT"] = "1";
  const auto second = Read(variables);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->agent_prefix.empty());
  EXPECT_NE(first->agent_prefix, second->agent_prefix);
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "False";
  EXPECT_EQ(Read(variables)->agent_prefix, "");
}

TEST(RankPlaceTest, NamesTheVariableThatIsWrong) {
  std::map<std::string, std::string> good = {
      {"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "1"}};
  ASSERT_TRUE(Read(good).ok());
  const auto message = [&](const std::string& name, const std::string& value) {
    auto variables = good;
    variables[name] = value;
    return std::string(Read(variables).status().message());
  };
  EXPECT_THAT(message("WORLD_SIZE", "many"), HasSubstr("WORLD_SIZE is 'many', expected 1 to"));
  EXPECT_THAT(message("RANK", "2"), HasSubstr("RANK is '2', expected 0 to 1"));
  EXPECT_THAT(message("MASTER_PORT", "70000"), HasSubstr("MASTER_PORT is '70000'"));
  EXPECT_THAT(message("MASTER_ADDR", ""), HasSubstr("MASTER_ADDR is not set"));
  good["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  EXPECT_THAT(message("TORCHELASTIC_RESTART_COUNT", "-1"),
              HasSubstr("TORCHELASTIC_RESTART_COUNT is '-1', expected 0 to"));
}

}  // namespace
}  // namespace llava::training
