#include "training/commands/plan_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava::training {
namespace {

using ::testing::HasSubstr;

// What is wrong with the command line, and what was read of it.
std::string Parse(const std::string& line, MemoryArguments* arguments) {
  CLI::App app;
  AddMemoryOptions(app, *arguments);
  try {
    app.parse(line);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return "";
}

TEST(MemoryOptionsTest, TakeSizesWithTheirUnits) {
  MemoryArguments arguments;
  EXPECT_EQ(Parse("--memory --device-memory 80GiB --ranks 8", &arguments), "");
  EXPECT_TRUE(arguments.wanted);
  EXPECT_EQ(arguments.question.device_bytes, std::int64_t{80} << 30);
  EXPECT_EQ(arguments.question.ranks, 8);
}

TEST(MemoryOptionsTest, QuoteWhatIsNoSizeAsItWasGiven) {
  for (const std::string wrong : {"-5", "-5GiB", "parsecs"}) {
    MemoryArguments arguments;
    EXPECT_THAT(Parse("--memory --device-memory='" + wrong + "'", &arguments), HasSubstr(wrong));
  }
  MemoryArguments arguments;
  EXPECT_THAT(Parse("--memory --device-memory=0GiB", &arguments), HasSubstr("--device-memory"));
  EXPECT_THAT(Parse("--device-memory=80GiB", &arguments), HasSubstr("--memory"));
}

TEST(PrintMemoryTest, IsAskedAboutOneRecipe) {
  EXPECT_EQ(PrintMemory({"a.yaml", "b.yaml"}, {}), 2);
  EXPECT_EQ(PrintMemory({"no-such-recipe.yaml"}, {}), 2);
}

}  // namespace
}  // namespace llava::training
