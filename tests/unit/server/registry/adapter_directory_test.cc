#include "server/registry/adapter_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/server/registry/adapter_fixture.h"

namespace llava::registry {
namespace {

using ::testing::HasSubstr;

class AdapterDirectoryTest : public ::testing::Test {
 protected:
  AdapterDirectoryTest() {
    base_.models = {ModelOf("a", ProcessorOf())};
    table_.Start();
    EXPECT_TRUE(table_.Await(*table_.Load("blue", "dir"), TimePoint::max())->ok());
  }
  std::shared_ptr<const ServedModel> Found(const std::string& name, const std::string& key = "") {
    const auto found = directory_.Find(name, key);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : std::make_shared<const ServedModel>();
  }

  ManualClock clock_;
  FakeDirectory base_;
  FakeAdapterLoader loader_;
  AdapterTable table_{{}, &loader_, &base_, &clock_, nullptr};
  AdapterDirectory directory_{&base_, &table_};
};

TEST_F(AdapterDirectoryTest, AModelWithAnAdapterIsTheVersionWithIt) {
  const auto model = Found("llava:blue");
  EXPECT_EQ(model->name, "llava:blue");
  EXPECT_EQ(model->adapter_name, "blue");
  EXPECT_EQ(model->adapter->digest(), Sha256Of("dir"));
  EXPECT_EQ(model->digest, Sha256Of("a"));
  EXPECT_EQ(model->base, base_.models[0]) << "which is kept as long";
  EXPECT_TRUE(model->IsNamed("eyes:blue"));
  EXPECT_FALSE(model->IsNamed("eyes"));
  EXPECT_EQ(Found("eyes:blue")->name, "llava:blue");
  EXPECT_EQ(Found("llava")->adapter, nullptr);
  EXPECT_EQ(directory_.List().size(), 2u);
  EXPECT_EQ(directory_.List()[1]->name, "llava:blue");
}

TEST_F(AdapterDirectoryTest, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(directory_.Find("llava:red", "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(directory_.Find("llava:red", "").status().message()),
              HasSubstr("expected blue"));
  EXPECT_EQ(directory_.Find("other:blue", "").status().code(), absl::StatusCode::kNotFound);
  base_.models = {};
  EXPECT_EQ(directory_.Find("llava:blue", "").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(AdapterDirectoryTest, AModelsOwnNameMayHaveAColon) {
  auto model = std::make_shared<ServedModel>(*base_.models[0]);
  model->name = "llava:7b";
  base_.models = {model};
  EXPECT_EQ(Found("llava:7b")->adapter, nullptr);
  EXPECT_EQ(Found("llava:7b:blue")->name, "llava:7b:blue");
}

TEST_F(AdapterDirectoryTest, AnswersAreOfTheVersionAndOfTheAdapter) {
  AdapterTable table({.canary = {.traffic = 1, .min_answers = 1, .enough_answers = 2}}, &loader_,
                     &base_, &clock_, nullptr);
  table.Start();
  AdapterDirectory directory(&base_, &table);
  for (const char* dir : {"old", "new"}) {
    EXPECT_TRUE(table.Await(*table.Load("blue", dir), TimePoint::max())->ok());
  }
  EXPECT_EQ((*directory.Find("llava:blue", "any"))->adapter->digest(), Sha256Of("new"));
  EXPECT_TRUE(directory.IsJudging());
  for (int i = 0; i < 2; ++i) {
    directory.Observe(Sha256Of("a"), {.adapter = Sha256Of("old")});
    directory.Observe(Sha256Of("a"), {.adapter = Sha256Of("new")});
  }
  EXPECT_FALSE(directory.IsJudging());
  EXPECT_EQ(base_.observed.size(), 4u);
}

TEST_F(AdapterDirectoryTest, FollowsToVersionsOfTheSameProducts) {
  base_.models = {ModelOf("b", ProcessorOf())};
  EXPECT_EQ(Found("llava:blue")->digest, Sha256Of("b"));
  base_.models.push_back(ModelOf("canary", ProcessorOf(1000)));
  EXPECT_EQ(Found("llava", "canary")->digest, Sha256Of("canary"));
  EXPECT_EQ(Found("llava:blue", "canary")->digest, Sha256Of("b")) << "which it fits";
  EXPECT_EQ(directory_.List().size(), 3u);
  base_.models = {ModelOf("c", ProcessorOf(1000))};
  EXPECT_EQ(directory_.Find("llava:blue", "").status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(directory_.List().size(), 1u);
}

}  // namespace
}  // namespace llava::registry
