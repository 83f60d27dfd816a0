#include "server/chat/json_call.h"

#include <boost/json/parse.hpp>
#include <utility>

#include "absl/strings/ascii.h"

namespace llava::api {
namespace {

// The text that a JSON string holds; nothing for what is none.
std::string Unquoted(const std::string& json) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(json, error);
  if (error || !value.is_string()) return "";
  return {value.as_string().data(), value.as_string().size()};
}

}  // namespace

void JsonCall::Push(char c) {
  text_.push_back(c);
  bool closes = false;
  if (in_string_) {
    in_string_ = escaped_ || c != '"';
    escaped_ = !escaped_ && c == '\\';
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    if (++depth_ == 1) return;  // of the call itself
  } else if (c == '}' || c == ']') {
    closes = --depth_ == 1;
  }
  if (depth_ == 0) {
    EndMember();
    done_ = true;
    return;
  }
  if (depth_ == 1 && !in_string_ && c == ',') return EndMember();
  if (!has_key_ && depth_ == 1 && !in_string_ && c == ':') {
    key_ = Unquoted(std::exchange(value_, ""));
    has_key_ = true;
    return;
  }
  PushValue(c, closes);
}

void JsonCall::PushValue(char c, bool closes) {
  if (value_.empty() && absl::ascii_isspace(static_cast<unsigned char>(c))) return;
  value_.push_back(c);
  if (!has_key_ || !IsArguments() || value_.front() != '{' || (depth_ == 1 && !closes)) return;
  arguments_.push_back(c);
  has_arguments_ = true;
}

void JsonCall::EndMember() {
  if (has_key_ && key_ == "name") name_ = Unquoted(value_);
  if (has_key_ && IsArguments() && !has_arguments_ && value_.substr(0, 1) == "\"") {
    arguments_ = Unquoted(value_);
    has_arguments_ = true;
  }
  key_.clear();
  value_.clear();
  has_key_ = false;
}

std::string JsonCall::TakeArguments() { return std::exchange(arguments_, ""); }

}  // namespace llava::api
