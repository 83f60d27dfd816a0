#include "training/run/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "llava/tensorboard/v1/event.pb.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using tensorboard::v1::Event;
using ::testing::HasSubstr;

// CRC-32C bit by bit (RFC 3720, appendix B.4), then TensorFlow's mask.
std::uint32_t Crc(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}
std::uint32_t Masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; }

template <typename T>
T Number(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// The records of an event file, as TensorFlow reads them.
std::vector<Event> ReadEvents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  std::vector<Event> events;
  for (std::string_view rest = file; !rest.empty();) {
    if (rest.size() < 16) {
      ADD_FAILURE() << "cut short";
      return events;
    }
    const auto length = Number<std::uint64_t>(rest);
    EXPECT_EQ(Number<std::uint32_t>(rest.substr(8)), Masked(Crc(rest.substr(0, 8))));
    const std::string_view bytes = rest.substr(12, length);
    EXPECT_EQ(Number<std::uint32_t>(rest.substr(12 + length)), Masked(Crc(bytes)));
    EXPECT_TRUE(events.emplace_back().ParseFromString(std::string(bytes)));
    rest.remove_prefix(16 + length);
  }
  return events;
}

std::map<std::string, float> Values(const Event& event) {
  std::map<std::string, float> values;
  for (const auto& value : event.summary().value()) values[value.tag()] = value.simple_value();
  return values;
}

StepReport Report(std::int64_t step) {
  StepReport report;
  report.total_step = step;
  report.loss = 1.5;
  report.accuracy = 0.0;
  report.gradient_norm = 2.5;
  report.rate = 0.125;
  report.seconds = 2.0;
  report.waited_seconds = 0.5;
  report.memory_bytes = 1 << 20;
  report.stats.samples = 8;
  report.stats.tokens = 96;
  report.stats.padding = 32;
  return report;
}

class EventFileTest : public ::testing::Test {
 protected:
  std::string Folder() const { return dir_.path() + "/run/tensorboard"; }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(Folder())) names.push_back(entry.path());
    std::sort(names.begin(), names.end());
    return names;
  }

  test::TempDir dir_;
  ManualClock clock_;
};

// "123456789" has the CRC-32C E3069283; the record is what TensorFlow's writer makes of it.
TEST(FrameRecordTest, EqualsTensorFlowsBytes) {
  EXPECT_EQ(Crc("123456789"), 0xE3069283U);
  constexpr char kRecord[] =
      "\x09\x00\x00\x00\x00\x00\x00\x00\x37\xf9\x71\x39"
      "123456789"
      "\xe5\xb0\x8a\xc7";
  EXPECT_EQ(FrameRecord("123456789"), std::string(kRecord, sizeof(kRecord) - 1));
  constexpr char kEmpty[] = "\0\0\0\0\0\0\0\0\x29\x03\x98\x07\xd8\xea\x82\xa2";
  EXPECT_EQ(FrameRecord(""), std::string(kEmpty, sizeof(kEmpty) - 1));
}

TEST_F(EventFileTest, BeginsWithTheVersionAndTheStartAndHasAnEventAStep) {
  clock_.Advance(std::chrono::milliseconds(1'700'000'000'250));
  EventFile file(Folder(), clock_);
  EXPECT_FALSE(fs::exists(Folder()));  // a run without a step leaves nothing
  ASSERT_TRUE(file.Write(Report(7)).ok());
  clock_.Advance(std::chrono::seconds(2));
  ASSERT_TRUE(file.Write(Report(8)).ok());
  ASSERT_EQ(Files().size(), 1u);
  const std::vector<Event> events = ReadEvents(Files()[0]);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[0].step(), 0);
  EXPECT_EQ(events[1].session_log().status(), tensorboard::v1::SESSION_STATUS_START);
  EXPECT_EQ(events[1].step(), 7);
  EXPECT_EQ(events[2].step(), 7);
  EXPECT_DOUBLE_EQ(events[2].wall_time(), 1'700'000'000.25);
  EXPECT_EQ(events[3].step(), 8);
  EXPECT_DOUBLE_EQ(events[3].wall_time(), 1'700'000'002.25);
}

TEST_F(EventFileTest, ACurveANumber) {
  EventFile file(Folder(), clock_);
  ASSERT_TRUE(file.Write(Report(1)).ok());
  const Event event = ReadEvents(Files()[0]).back();
  EXPECT_EQ(Values(event), (std::map<std::string, float>{{"loss", 1.5F},
                                                         {"accuracy", 0.0F},
                                                         {"grad_norm", 2.5F},
                                                         {"rate", 0.125F},
                                                         {"tokens_per_second", 48.0F},
                                                         {"samples_per_second", 4.0F},
                                                         {"padding_share", 0.25F},
                                                         {"data_wait_share", 0.25F},
                                                         {"memory_bytes", 1048576.0F}}));
  for (const auto& value : event.summary().value()) {
    EXPECT_TRUE(value.has_simple_value()) << value.tag();  // a zero is a value too
  }
}

TEST_F(EventFileTest, AValidationHasCurvesOfItsOwn) {
  EventFile file(Folder(), clock_);
  ValidationReport report;
  report.total_step = 7;
  report.loss = 0.5;
  report.accuracy = 0.75;
  ASSERT_TRUE(file.Write(report).ok());
  const std::vector<Event> events = ReadEvents(Files()[0]);
  EXPECT_EQ(events[1].step(), 8);  // that begins: step 7 stays
  EXPECT_EQ(events.back().step(), 7);
  EXPECT_EQ(Values(events.back()), (std::map<std::string, float>{{"validation/loss", 0.5F},
                                                                 {"validation/accuracy", 0.75F}}));
}

// TensorBoard reads files in the order of their names: a run that went on comes last.
TEST_F(EventFileTest, LaterFilesHaveLaterNames) {
  clock_.Advance(std::chrono::milliseconds(999));
  EventFile first(Folder(), clock_);
  ASSERT_TRUE(first.Write(Report(5)).ok());
  clock_.Advance(std::chrono::milliseconds(1));
  EventFile second(Folder(), clock_);
  ASSERT_TRUE(second.Write(Report(3)).ok());
  const std::vector<std::string> files = Files();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_THAT(files[0], HasSubstr("events.out.tfevents.0000000000999."));
  EXPECT_EQ(ReadEvents(files[0])[1].step(), 5);
  EXPECT_EQ(ReadEvents(files[1])[1].step(), 3);
}

// Nobody reads behind half a record: once the disk has room again, another file begins.
TEST_F(EventFileTest, GoesOnInAnotherFileWhenThereIsRoomAgain) {
  EventFile file(Folder(), clock_);
  ASSERT_TRUE(file.Write(Report(1)).ok());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit full{.rlim_cur = fs::file_size(Files()[0]) + 9, .rlim_max = before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const absl::Status failed = file.Write(Report(2));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(failed.ok());
  clock_.Advance(std::chrono::seconds(1));
  ASSERT_TRUE(file.Write(Report(3)).ok());
  ASSERT_EQ(Files().size(), 2u);
  EXPECT_EQ(ReadEvents(Files()[1]).back().step(), 3);
}

TEST_F(EventFileTest, NamesTheFileThatCannotBeWritten) {
  std::ofstream(dir_.path() + "/file") << "x";
  EventFile file(dir_.path() + "/file", clock_);
  const absl::Status status = file.Write(Report(1));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("writing " + dir_.path() + "/file/events.out.tfevents."));
}

}  // namespace
}  // namespace llava::training
