#include "server/chat/model_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace llava::api {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const registry::ServedModel> Model(const std::string& version) {
  auto model = std::make_shared<registry::ServedModel>();
  model->name = "llava";
  model->aliases = {"default"};
  model->version = version;
  return model;
}

class Directory final : public registry::ModelDirectory {
 public:
  absl::StatusOr<std::shared_ptr<const registry::ServedModel>> Find(
      absl::string_view name, absl::string_view key) override {
    asked = std::string(name) + " " + std::string(key);
    return models.at(0);
  }
  std::vector<std::shared_ptr<const registry::ServedModel>> List() override { return models; }
  bool AfterSwap(std::function<void()>) override { return false; }
  bool IsJudging() override { return false; }
  void Observe(const Digest&, const registry::Observation&) override {}

  std::vector<std::shared_ptr<const registry::ServedModel>> models = {Model("0123456789abcdef"),
                                                                      Model("0123456700000000")};
  std::string asked;
};

TEST(ModelChoiceTest, WithoutAVersionTheDirectoryChooses) {
  Directory directory;
  EXPECT_EQ(*ChooseModel(directory, "llava", "alice"), directory.models[0]);
  EXPECT_EQ(directory.asked, "llava alice");
}

TEST(ModelChoiceTest, AVersionIsNamedByEightDigitsOrMore) {
  Directory directory;
  EXPECT_EQ(*ChooseModel(directory, "llava@0123456789a", ""), directory.models[0]);
  EXPECT_EQ(*ChooseModel(directory, "llava@0123456700", ""), directory.models[1]);
  EXPECT_EQ(*ChooseModel(directory, "default@0123456700000000", ""), directory.models[1]);
  EXPECT_EQ(*ChooseModel(directory, "llava@01234567", ""), directory.models[0]);
  EXPECT_EQ(directory.asked, "");
  for (const char* wrong :
       {"llava@0123456", "llava@", "other@01234567", "llava@76543210", "llava@0123456789abcdef0"}) {
    const auto chosen = ChooseModel(directory, wrong, "");
    EXPECT_TRUE(absl::IsNotFound(chosen.status())) << wrong;
    EXPECT_THAT(std::string(chosen.status().message()),
                HasSubstr("expected llava@01234567 or llava@01234567"));
  }
}

TEST(ModelChoiceTest, ThereMayBeNone) {
  Directory directory;
  directory.models.clear();
  EXPECT_THAT(std::string(ChooseModel(directory, "llava@01234567", "").status().message()),
              HasSubstr("of which none does"));
}

}  // namespace
}  // namespace llava::api
