#include "training/run/event_file.h"

#include <bit>
#include <boost/crc.hpp>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "llava/tensorboard/v1/event.pb.h"

namespace llava::training {
namespace {

using tensorboard::v1::Event;

static_assert(std::endian::native == std::endian::little, "the framing is little endian");

template <typename T>
std::string Bytes(T value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

// CRC-32C, rotated and offset: TensorFlow's tsl/lib/hash/crc32c.h.
std::string MaskedCrc(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  const std::uint32_t sum = crc.checksum();
  return Bytes<std::uint32_t>(std::rotr(sum, 15) + 0xA282EAD8U);
}

Event At(const Clock& clock, std::int64_t step) {
  Event event;
  event.set_wall_time(static_cast<double>(clock.UnixMillis()) / 1000.0);
  event.set_step(step);
  return event;
}

void Add(const char* tag, double value, Event* event) {
  auto* entry = event->mutable_summary()->add_value();
  entry->set_tag(tag);
  entry->set_simple_value(static_cast<float>(value));
}

}  // namespace

std::string FrameRecord(std::string_view bytes) {
  const std::string length = Bytes<std::uint64_t>(bytes.size());
  return absl::StrCat(length, MaskedCrc(length), AbslView(bytes), MaskedCrc(bytes));
}

void EventFile::Append(const std::string& event) { out_ << FrameRecord(event); }

absl::Status EventFile::Open(std::int64_t first_step) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  // TensorBoard reads the files of a folder in the order of their names.
  const std::string path =
      absl::StrFormat("%s/events.out.tfevents.%013d.llava-train", folder_, clock_.UnixMillis());
  out_.open(path, std::ios::binary | std::ios::app);
  if (!out_) return absl::UnavailableError(absl::StrCat("writing ", path));
  Event version = At(clock_, 0);
  version.set_file_version("brain.Event:2");
  Append(version.SerializeAsString());
  Event start = At(clock_, first_step);
  start.mutable_session_log()->set_status(tensorboard::v1::SESSION_STATUS_START);
  Append(start.SerializeAsString());
  return absl::OkStatus();
}

absl::Status EventFile::Write(const StepReport& report) {
  if (!out_.is_open()) RETURN_IF_ERROR(Open(report.total_step));
  Event event = At(clock_, report.total_step);
  Add("loss", report.loss, &event);
  Add("accuracy", report.accuracy, &event);
  Add("grad_norm", report.gradient_norm, &event);
  Add("rate", report.rate, &event);
  Add("tokens_per_second", report.tokens_per_second(), &event);
  Add("samples_per_second", report.samples_per_second(), &event);
  Add("padding_share", report.padding_share(), &event);
  Add("data_wait_share", report.data_wait_share(), &event);
  Add("memory_bytes", static_cast<double>(report.memory_bytes), &event);
  return Finish(event.SerializeAsString());
}

absl::Status EventFile::Write(const ValidationReport& report) {
  if (!out_.is_open()) RETURN_IF_ERROR(Open(report.total_step + 1));
  Event event = At(clock_, report.total_step);
  Add("validation/loss", report.loss, &event);
  Add("validation/accuracy", report.accuracy, &event);
  return Finish(event.SerializeAsString());
}

absl::Status EventFile::Finish(const std::string& event) {
  Append(event);
  out_.flush();
  if (out_) return absl::OkStatus();
  // The next event is the first one of another file: nobody reads behind half a record.
  out_.close();
  out_.clear();
  return absl::UnavailableError(absl::StrCat("writing into ", folder_));
}

}  // namespace llava::training
