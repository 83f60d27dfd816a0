#include "server/observe/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <boost/json/parse.hpp>
#include <sstream>

namespace llava::observe {
namespace {

class LogTest : public ::testing::Test {
 protected:
  Log MakeLog(const Log::Options& options) {
    return Log(options, &clock_, std::make_shared<spdlog::sinks::ostream_sink_mt>(out_));
  }

  ManualClock clock_;
  std::ostringstream out_;
};

TEST_F(LogTest, OneJsonObjectALine) {
  clock_.Advance(std::chrono::milliseconds(86'400'123));
  const Log log = MakeLog({});
  log.Info("started", {{"port", 50051}, {"text", "two\nlines \"quoted\""}});
  log.Debug("not shown");
  log.Error("failed");
  std::istringstream lines(out_.str());
  std::string first, second, none;
  ASSERT_TRUE(std::getline(lines, first) && std::getline(lines, second));
  EXPECT_FALSE(std::getline(lines, none)) << none;
  const auto object = boost::json::parse(first).as_object();
  EXPECT_EQ(object.at("time").as_string(), "1970-01-02T00:00:00.123Z");
  EXPECT_EQ(object.at("level").as_string(), "info");
  EXPECT_EQ(object.at("event").as_string(), "started");
  EXPECT_EQ(object.at("port").as_int64(), 50051);
  EXPECT_EQ(object.at("text").as_string(), "two\nlines \"quoted\"");
  EXPECT_EQ(boost::json::parse(second).at("level").as_string(), "error");
}

TEST_F(LogTest, ContentIsLoggedOnlyWhenAskedFor) {
  EXPECT_EQ(MakeLog({}).Content("secret").as_string(), "6 bytes");
  EXPECT_EQ(MakeLog({.content = true}).Content("open \xff").as_string(), "open \xEF\xBF\xBD");
}

// A client chooses its tenant's name; a line stays JSON, which is UTF-8.
TEST_F(LogTest, BytesThatAreNoTextAreRepairedWhereverTheyStand) {
  const Log log = MakeLog({});
  log.Info("x", {{"tenant", "a\xff"},
                 {"list", boost::json::array{"b\xfe", 1}},
                 {"object", boost::json::object{{"name", "c\xc0"}}},
                 {"good", "\xE6\x9D\xB1"}});
  const auto line = boost::json::parse(out_.str()).as_object();
  EXPECT_EQ(line.at("tenant").as_string(), "a\xEF\xBF\xBD");
  EXPECT_EQ(line.at("list").as_array().at(0).as_string(), "b\xEF\xBF\xBD");
  EXPECT_EQ(line.at("list").as_array().at(1).as_int64(), 1);
  EXPECT_EQ(line.at("object").as_object().at("name").as_string(), "c\xEF\xBF\xBD");
  EXPECT_EQ(line.at("good").as_string(), "\xE6\x9D\xB1");
}

TEST_F(LogTest, TheLevelCanChange) {
  const Log log = MakeLog({.level = "warning"});
  log.Info("no");
  log.SetLevel("info");
  log.Info("yes");
  log.SetLevel("error");
  log.Warning("no");
  EXPECT_THAT(out_.str(), testing::HasSubstr("yes"));
  EXPECT_THAT(out_.str(), testing::Not(testing::HasSubstr("\"no\"")));
}

TEST_F(LogTest, TheLevelDecides) {
  const Log log = MakeLog({.level = "warning"});
  log.Info("no");
  log.Warning("yes");
  EXPECT_THAT(out_.str(), ::testing::Not(::testing::HasSubstr("\"no\"")));
  EXPECT_THAT(out_.str(), ::testing::HasSubstr("\"yes\""));
}

}  // namespace
}  // namespace llava::observe
