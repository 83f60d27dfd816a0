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

struct Place {
  std::int64_t step = 0;
  bool is_validation = false;
};

// Nothing for a line that was cut short or has no step.
std::optional<Place> PlaceOf(const std::string& line) {
  boost::system::error_code error;
  const boost::json::value json = boost::json::parse(line, error);
  if (error || !json.is_object() || !json.as_object().contains("total_step")) return std::nullopt;
  const auto step = json.at("total_step").to_number<std::int64_t>(error);
  if (error) return std::nullopt;
  return Place{step, json.as_object().contains("validation_loss")};
}

}  // namespace

// Drops what is about to be written again.
absl::Status RunLog::Open(std::int64_t first_step, std::int64_t first_validation) {
  std::error_code error;
  if (std::filesystem::exists(path_, error)) {
    std::ifstream in(path_);
    std::string kept;
    for (std::string line; std::getline(in, line);) {
      const std::optional<Place> place = PlaceOf(line);
      if (!place || place->step >= (place->is_validation ? first_validation : first_step)) continue;
      absl::StrAppend(&kept, line, "\n");
    }
    RETURN_IF_ERROR(WriteFile(path_ + ".new", kept));
    RETURN_IF_ERROR(RenameFile(path_ + ".new", path_));
  }
  out_.open(path_, std::ios::app);
  return absl::OkStatus();
}

absl::Status RunLog::Write(const StepReport& report) {
  if (!out_.is_open()) RETURN_IF_ERROR(Open(report.total_step, report.total_step));
  return Append(ToJson(report));
}

absl::Status RunLog::Write(const ValidationReport& report) {
  if (!out_.is_open()) RETURN_IF_ERROR(Open(report.total_step + 1, report.total_step));
  return Append(ToJson(report));
}

absl::Status RunLog::Append(const std::string& line) {
  out_ << line << "\n" << std::flush;
  if (out_) return absl::OkStatus();
  // A disk that was full for a while: the next line opens the file anew, without what is half
  // there.
  out_.close();
  out_.clear();
  return absl::UnavailableError(absl::StrCat("writing ", path_));
}

}  // namespace llava::training
