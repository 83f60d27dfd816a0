#include "model/checkpoint/safetensors_header.h"

#include <boost/json/basic_parser_impl.hpp>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::model {
namespace {

using boost::json::error_code;
using boost::json::string_view;

constexpr std::size_t kMaxDims = 16;
constexpr std::string_view kMetadata = "__metadata__";

// Handler of boost::json::basic_parser. Depth 1 is the header, 2 one tensor, 3 its lists.
class Handler {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = kMaxDims;
  static constexpr std::size_t max_key_size = 4096;
  static constexpr std::size_t max_string_size = std::numeric_limits<std::size_t>::max();

  std::vector<HeaderEntry> entries;
  std::string problem;  // why the parse was stopped

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& ec) {
    if (depth_ >= 2 || InList()) return Wrong("an object", ec);
    ++depth_;
    if (depth_ == 2 && !InMetadata()) entries.push_back(HeaderEntry{.name = name_});
    fields_ = 0;
    return true;
  }

  bool on_object_end(std::size_t, error_code& ec) {
    --depth_;
    if (depth_ == 1 && !InMetadata() && fields_ != (kDtype | kShape | kOffsets)) {
      return Fail(absl::StrCat("tensor \"", name_, "\" lacks one of dtype, shape, data_offsets"),
                  ec);
    }
    return true;
  }

  bool on_array_begin(error_code& ec) {
    if (depth_ != 2 || InMetadata() || InList() || (field_ != kShape && field_ != kOffsets)) {
      return Wrong("a list", ec);
    }
    list_ = field_;
    numbers_.clear();
    return true;
  }

  bool on_array_end(std::size_t, error_code& ec) {
    if (list_ == kShape) {
      entries.back().shape = std::move(numbers_);
    } else if (numbers_.size() != 2) {
      return Fail(absl::StrCat("tensor \"", name_, "\": data_offsets has ", numbers_.size(),
                               " numbers, expected 2"),
                  ec);
    } else {
      entries.back().begin = static_cast<std::uint64_t>(numbers_[0]);
      entries.back().end = static_cast<std::uint64_t>(numbers_[1]);
    }
    list_ = 0;
    return true;
  }

  bool on_key_part(string_view text, std::size_t, error_code&) { return Append(text); }
  bool on_key(string_view text, std::size_t, error_code& ec) {
    Append(text);
    if (depth_ == 1) {
      name_ = std::exchange(text_, {});
      return true;
    }
    return InMetadata() ? (text_.clear(), true) : TensorField(std::exchange(text_, {}), ec);
  }

  bool on_string_part(string_view text, std::size_t, error_code&) { return Append(text); }
  bool on_string(string_view text, std::size_t, error_code& ec) {
    Append(text);
    const std::string value = std::exchange(text_, {});
    if (depth_ == 2 && InMetadata()) return true;
    if (depth_ != 2 || InList() || field_ != kDtype) return Wrong("a string", ec);
    const auto dtype = DTypeFromName(value);
    if (!dtype.has_value()) {
      return Fail(absl::StrCat("tensor \"", name_, "\": unknown dtype \"", value, "\""), ec);
    }
    entries.back().dtype = *dtype;
    return true;
  }

  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(std::int64_t value, string_view, error_code& ec) {
    if (!InList()) return Wrong("a number", ec);
    if (value < 0) {
      return Fail(
          absl::StrCat("tensor \"", name_, "\": ", ListName(), " has the negative number ", value),
          ec);
    }
    numbers_.push_back(value);
    return true;
  }
  bool on_uint64(std::uint64_t value, string_view, error_code& ec) {
    return Fail(absl::StrCat("tensor \"", name_, "\": the number ", value, " is too large"), ec);
  }
  bool on_double(double, string_view, error_code& ec) { return Wrong("a fraction", ec); }
  bool on_bool(bool, error_code& ec) { return Wrong("true or false", ec); }
  bool on_null(error_code& ec) { return Wrong("null", ec); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

 private:
  static constexpr unsigned kDtype = 1;
  static constexpr unsigned kShape = 2;
  static constexpr unsigned kOffsets = 4;

  bool InList() const { return list_ != 0; }
  bool InMetadata() const { return name_ == kMetadata; }
  const char* ListName() const { return list_ == kShape ? "shape" : "data_offsets"; }

  bool Append(string_view text) {
    text_.append(text.data(), text.size());
    return true;
  }

  bool TensorField(const std::string& key, error_code& ec) {
    field_ = key == "dtype"          ? kDtype
             : key == "shape"        ? kShape
             : key == "data_offsets" ? kOffsets
                                     : 0;
    if (field_ == 0) {
      return Fail(absl::StrCat("tensor \"", name_, "\": unknown field \"", key, "\""), ec);
    }
    if ((fields_ & field_) != 0) {
      return Fail(absl::StrCat("tensor \"", name_, "\": ", key, " is given twice"), ec);
    }
    fields_ |= field_;
    return true;
  }

  bool Fail(std::string why, error_code& ec) {
    problem = std::move(why);
    ec = boost::json::error::syntax;
    return false;
  }

  bool Wrong(const char* found, error_code& ec) {
    return Fail(depth_ == 0 ? absl::StrCat("the header is ", found, ", expected an object")
                            : absl::StrCat("the entry of \"", name_, "\" has ", found,
                                           " where the format has none"),
                ec);
  }

  int depth_ = 0;
  unsigned field_ = 0;   // whose value comes next: kDtype, kShape or kOffsets
  unsigned fields_ = 0;  // those of this tensor so far
  unsigned list_ = 0;    // the one whose list is open, or 0
  std::string name_;
  std::string text_;
  std::vector<std::int64_t> numbers_;
};

}  // namespace

absl::StatusOr<std::vector<HeaderEntry>> ParseSafetensorsHeader(std::string_view text) {
  boost::json::parse_options options;
  options.max_depth = 4;
  boost::json::basic_parser<Handler> parser(options);
  error_code ec;
  const std::size_t used = parser.write_some(false, text.data(), text.size(), ec);
  Handler& handler = parser.handler();
  if (!handler.problem.empty()) return absl::InvalidArgumentError(handler.problem);
  if (ec) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header is not valid JSON: ", ec.message(), " at byte ", used));
  }
  if (text.find_first_not_of(" \t\r\n", used) != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header has other text after its JSON, at byte ", used));
  }
  return std::move(handler.entries);
}

}  // namespace llava::model
