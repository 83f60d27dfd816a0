#include "base/strict_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/field_error.h"
#include "base/utf8_stream.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StrictYaml Parsed(const std::string& text) {
  auto yaml = StrictYaml::Parse(text, "f.yaml");
  EXPECT_TRUE(yaml.ok()) << yaml.status();
  return *std::move(yaml);
}

// What Finish says after `read` has asked for all it wants.
template <typename Read>
std::string MistakeIn(const std::string& text, Read read) {
  StrictYaml yaml = Parsed(text);
  read(yaml);
  const absl::Status status = yaml.Finish();
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(StrictYaml, ReadsEachTypeAndLeavesWhatIsAbsent) {
  StrictYaml yaml =
      Parsed("text: a b\nflag: true\nwhole: -3\nreal: 2.5\nlist: [x, 'y']\nquoted: '7'\n");
  std::string text, quoted, absent = "as it was";
  bool flag = false;
  std::int64_t whole = 0;
  double real = 0;
  std::vector<std::string> list;
  yaml.Optional("text", &text);
  yaml.Optional("flag", &flag);
  yaml.Optional("whole", &whole);
  yaml.Optional("real", &real);
  yaml.Optional("list", &list);
  yaml.Optional("quoted", &quoted);
  yaml.Optional("absent", &absent);
  EXPECT_TRUE(yaml.Finish().ok());
  EXPECT_EQ(text, "a b");
  EXPECT_TRUE(flag);
  EXPECT_EQ(whole, -3);
  EXPECT_EQ(real, 2.5);
  EXPECT_THAT(list, ElementsAre("x", "y"));
  EXPECT_EQ(quoted, "7");
  EXPECT_EQ(absent, "as it was");
}

TEST(StrictYaml, AWrongTypeSaysWhereAndWhatWasExpected) {
  std::int64_t whole = 5;
  EXPECT_EQ(
      MistakeIn("a: 1\nwhole: many\n", [&](StrictYaml& yaml) { yaml.Optional("whole", &whole); }),
      "f.yaml:2: whole: is 'many', expected a whole number");
  EXPECT_EQ(whole, 5);
  std::vector<std::string> list;
  EXPECT_EQ(MistakeIn("list:\n  - a\n  - {b: c}\n",
                      [&](StrictYaml& yaml) { yaml.Optional("list", &list); }),
            "f.yaml:3: list[1]: is a mapping, expected a text");
}

TEST(StrictYaml, UnknownAndRepeatedKeysAreMistakes) {
  std::int64_t steps = 0;
  const auto read = [&](StrictYaml& yaml) { yaml.Optional("steps", &steps); };
  EXPECT_EQ(MistakeIn("steps: 1\nstops: 2\n", read),
            "f.yaml:2: stops: unknown key; did you mean steps?");
  EXPECT_EQ(MistakeIn("elephant: 2\n", read), "f.yaml:1: elephant: unknown key");
  EXPECT_EQ(MistakeIn("steps: 1\nsteps: 1\n", read), "f.yaml:2: steps: comes twice");
  EXPECT_THAT(MistakeIn(absl::StrCat(std::string(1000, 'k'), ": 1\n"), read),
              HasSubstr("unknown key"));
}

TEST(StrictYaml, NestedMistakesNameTheirPathAndTheFirstOneStays) {
  std::int64_t batch = 0;
  const auto read = [&](StrictYaml& yaml) {
    yaml.List("stages", [&](StrictYaml& stage) {
      stage.Section("data", [&](StrictYaml& data) { data.Optional("batch", &batch); });
    });
    yaml.Require("name");
  };
  EXPECT_EQ(MistakeIn("stages:\n  - data: {batch: 2}\n  - data: {batch: x}\n", read),
            "f.yaml:3: stages[1].data.batch: is 'x', expected a whole number");
  EXPECT_EQ(MistakeIn("stages:\n  - data: {batches: 2}\n", read),
            "f.yaml:2: stages[0].data.batches: unknown key; did you mean batch?");
  EXPECT_EQ(MistakeIn("stages: 3\n", read), "f.yaml:1: stages: is '3', expected a list");
  EXPECT_EQ(MistakeIn("stages: []\n", read), "f.yaml:1: name: is missing");
}

TEST(StrictYaml, WrittenGivesTheScalarAndRefusesQuotesWhereNoTextStands) {
  StrictYaml yaml = Parsed("size: 4MiB\nname: '4MiB'\n");
  EXPECT_EQ(yaml.Written("size", "bytes", false), "4MiB");
  EXPECT_EQ(yaml.Written("name", "text", true), "4MiB");
  EXPECT_EQ(yaml.Written("absent", "text", true), std::nullopt);
  EXPECT_TRUE(yaml.Finish().ok());
  EXPECT_EQ(MistakeIn("size: '4'\n",
                      [](StrictYaml& y) { EXPECT_FALSE(y.Written("size", "bytes", false)); }),
            "f.yaml:1: size: is '4' in quotes, expected bytes");
  EXPECT_EQ(MistakeIn("size: [4]\n",
                      [](StrictYaml& y) { EXPECT_FALSE(y.Written("size", "bytes", true)); }),
            "f.yaml:1: size: is a list, expected bytes");
}

TEST(StrictYaml, ChoicesAreListed) {
  int value = 0;
  const auto read = [&](StrictYaml& yaml) {
    yaml.Choice<int>("by", {{"tenant", 1}, {"conversation", 2}}, &value);
  };
  EXPECT_EQ(MistakeIn("by: conversation\n", read), "");
  EXPECT_EQ(value, 2);
  EXPECT_EQ(MistakeIn("by: nobody\n", read),
            "f.yaml:1: by: is 'nobody', expected one of: tenant, conversation");
}

TEST(StrictYaml, WhatIsNoMappingIsRefusedAndAnEmptyTextIsOne) {
  EXPECT_TRUE(Parsed("").Finish().ok());
  EXPECT_TRUE(Parsed("# a comment\n").Finish().ok());
  EXPECT_EQ(StrictYaml::Parse("- 1\n", "f").status().message(),
            "f:1: is a list, expected a mapping");
  EXPECT_THAT(std::string(StrictYaml::Parse("a: [1\nb: 2\n", "f").status().message()),
              HasSubstr("f:"));
}

TEST(StrictYaml, AMistakeIsALineOfUtf8) {
  for (const std::string bad : {"\xFF", "a\xC3", "\xED\xA0\x80"}) {
    const auto read = [](StrictYaml& yaml) {
      std::int64_t number = 0;
      yaml.Optional("x", &number);
    };
    for (const std::string& text :
         {absl::StrCat("x: \"", bad, "\"\n"), absl::StrCat(bad, ": 1\n"),
          absl::StrCat("[", bad, "]"), absl::StrCat("? ", bad, bad, "\n: 1\n"), bad}) {
      auto yaml = StrictYaml::Parse(text, absl::StrCat("f", bad, ".yaml"));
      absl::Status status = yaml.status();
      if (yaml.ok()) {
        read(*yaml);
        status = yaml->Finish();
      }
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
      EXPECT_TRUE(IsValidUtf8(StdView(status.message()))) << status;
    }
  }
  const std::string mistake =
      MistakeIn(absl::StrCat("x: ", std::string(1 << 20, 'y')), [](StrictYaml& yaml) {
        bool flag = false;
        yaml.Optional("x", &flag);
      });
  EXPECT_LE(mistake.size(), kMaxMessageBytes);
}

TEST(StrictYaml, LoadNamesTheFile) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/a.yaml";
  EXPECT_TRUE(absl::IsNotFound(StrictYaml::Load(path).status()));
  ASSERT_TRUE(WriteFile(path, "x: 1\n").ok());
  auto yaml = StrictYaml::Load(path);
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  EXPECT_EQ(yaml->Finish().message(), path + ":1: x: unknown key");
}

}  // namespace
}  // namespace llava
