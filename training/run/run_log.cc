#include "training/run/run_log.h"

#include <boost/json/parse.hpp>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

// Nothing for a line that was cut short or has no step.
std::optional<std::int64_t> StepOf(const std::string& line) {
  boost::system::error_code error;
  const boost::json::value json = boost::json::parse(line, error);
  if (error || !json.is_object() || !json.as_object().contains("total_step")) return std::nullopt;
  const auto step = json.at("total_step").to_number<std::int64_t>(error);
  return error ? std::nullopt : std::optional(step);
}

}  // namespace

absl::Status RunLog::DropFrom(std::int64_t total_step) const {
  std::error_code error;
  if (!std::filesystem::exists(path_, error)) return absl::OkStatus();
  std::ifstream in(path_);
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const std::optional<std::int64_t> step = StepOf(line);
    if (step.has_value() && *step < total_step) absl::StrAppend(&kept, line, "\n");
  }
  RETURN_IF_ERROR(WriteFile(path_ + ".new", kept));
  return RenameFile(path_ + ".new", path_);
}

absl::Status RunLog::Write(const StepReport& report) {
  if (!out_.is_open()) {
    RETURN_IF_ERROR(DropFrom(report.total_step));
    out_.open(path_, std::ios::app);
  }
  out_ << ToJson(report) << "\n" << std::flush;
  if (!out_) return absl::UnavailableError(absl::StrCat("writing ", path_));
  return absl::OkStatus();
}

}  // namespace llava::training
