#include "server/chat/tool_call_reader.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/utf8_stream.h"

namespace llava::api {
namespace {

constexpr absl::string_view kOpenTag = "<tool_call>";
constexpr absl::string_view kCloseTag = "</tool_call>";
constexpr absl::string_view kListMark = "[TOOL_CALLS]";

// Nine letters and digits, because templates of Mistral take no other.
std::string NewCallId() {
  constexpr absl::string_view kSigns =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::array<unsigned char, 9> bytes;
  LLAVA_CHECK_EQ(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())), 1);
  std::string id;
  for (const unsigned char byte : bytes) id.push_back(kSigns[byte % kSigns.size()]);
  return id;
}

bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

// Bytes at the end of `text` that may be the beginning of a tag, with white space before it.
std::size_t HeldBack(absl::string_view text) {
  std::size_t held = std::min(text.size(), kOpenTag.size() - 1);
  while (!absl::StartsWith(kOpenTag, text.substr(text.size() - held))) --held;
  while (held < text.size() && IsSpace(text[text.size() - held - 1])) ++held;
  return held;
}

}  // namespace

std::vector<CallDelta> Joined(const std::vector<CallDelta>& deltas) {
  std::vector<CallDelta> calls;
  for (const CallDelta& delta : deltas) {
    if (static_cast<std::size_t>(delta.index) == calls.size()) {
      calls.push_back(delta);
    } else {
      calls[static_cast<std::size_t>(delta.index)].arguments += delta.arguments;
    }
  }
  return calls;
}

ToolCallReader::Output ToolCallReader::Push(absl::string_view text) {
  if (!begun_) {
    begun_ = true;
    if (options_.format == model::CallFormat::kJson) state_ = State::kStart;
    if (options_.format == model::CallFormat::kUnknown) state_ = State::kPlain;
  }
  pending_.append(text.data(), text.size());
  Output out;
  while (Step(&out)) continue;
  return out;
}

ToolCallReader::Output ToolCallReader::Finish() {
  Output out;
  if (state_ == State::kOpen || (state_ == State::kCall && !named_)) GiveUp(&out);
  if (state_ == State::kStart || state_ == State::kText) Pass(&out);
  return out;
}

bool ToolCallReader::Step(Output* out) {
  switch (state_) {
    case State::kStart:
      return Start();
    case State::kText:
      return Text(out);
    case State::kOpen:
      return Open(out);
    case State::kCall:
      return Call(out);
    case State::kBetween:
      return Between();
    case State::kPlain:
      Pass(out);
      return false;
    case State::kDropped:
      pending_.clear();
      return false;
  }
  return false;
}

// What is pending is text. Behind a call, white space is none.
void ToolCallReader::Pass(Output* out) {
  if (is_behind_call_) pending_.erase(0, pending_.find_first_not_of(" \n\r\t"));
  is_behind_call_ = is_behind_call_ && pending_.empty();
  out->content += std::exchange(pending_, "");
}

// Until it is clear whether the answer is a call, or a list of them.
bool ToolCallReader::Start() {
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(pending_);
  if (text.size() < kListMark.size() && absl::StartsWith(kListMark, text)) return false;
  const std::size_t space = pending_.size() - text.size();
  if (absl::StartsWith(text, kListMark)) {
    before_ += pending_.substr(0, space + kListMark.size());
    pending_.erase(0, space + kListMark.size());
    return true;
  }
  if (text[0] == '[') {
    before_ += pending_.substr(0, space + 1);
    pending_.erase(0, space + 1);
  }
  state_ = State::kOpen;
  return true;
}

bool ToolCallReader::Text(Output* out) {
  const std::size_t tag = pending_.find(StdView(kOpenTag));
  if (tag == std::string::npos) {
    const std::string held = pending_.substr(pending_.size() - HeldBack(pending_));
    pending_.resize(pending_.size() - held.size());
    Pass(out);
    pending_ = held;
    return false;
  }
  const std::string rest = pending_.substr(tag + kOpenTag.size());
  const absl::string_view text = absl::string_view(pending_).substr(0, tag);
  before_ = pending_.substr(
      absl::StripTrailingAsciiWhitespace(text).size(),
      pending_.size() - rest.size() - absl::StripTrailingAsciiWhitespace(text).size());
  pending_ = std::string(absl::StripTrailingAsciiWhitespace(text));
  Pass(out);
  pending_ = rest;
  state_ = State::kOpen;
  return true;
}

bool ToolCallReader::Open(Output* out) {
  while (!pending_.empty() && IsSpace(pending_[0])) {
    before_.push_back(pending_[0]);
    pending_.erase(0, 1);
  }
  if (pending_.empty()) return false;
  if (pending_[0] != '{') return GiveUp(out);
  call_ = JsonCall();
  named_ = false;
  state_ = State::kCall;
  return true;
}

bool ToolCallReader::Call(Output* out) {
  std::size_t used = 0;
  while (used < pending_.size() && !call_.done()) call_.Push(pending_[used++]);
  pending_.erase(0, used);
  if (!named_ && !call_.name().empty()) {
    if (options_.functions.count(call_.name()) == 0) return GiveUp(out);
    out->calls.push_back({.index = calls_++, .id = NewCallId(), .name = call_.name()});
    named_ = true;
  }
  if (named_) {
    std::string arguments = call_.TakeArguments();
    if (call_.done() && !call_.has_arguments()) arguments = "{}";
    if (!arguments.empty()) {
      out->calls.push_back({.index = calls_ - 1, .arguments = std::move(arguments)});
    }
  }
  if (!call_.done()) return false;
  if (!named_) return GiveUp(out);
  state_ = calls_ >= options_.max_calls ? State::kDropped : State::kBetween;
  before_.clear();
  is_behind_call_ = true;
  return true;
}

bool ToolCallReader::Between() {
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(pending_);
  if (options_.format == model::CallFormat::kTagged) {
    if (text.size() < kCloseTag.size() && absl::StartsWith(kCloseTag, text)) return false;
    pending_ = std::string(absl::StripPrefix(text, kCloseTag));
    state_ = State::kText;
    return true;
  }
  const std::size_t next = text.find_first_not_of(" \n\r\t,;]");
  if (next == absl::string_view::npos) {
    pending_.clear();
    return false;
  }
  pending_ = std::string(text.substr(next));
  state_ = pending_[0] == '{' ? State::kOpen : State::kPlain;
  return true;
}

// It was no call after all.
bool ToolCallReader::GiveUp(Output* out) {
  const std::string seen = state_ == State::kCall ? call_.text() : "";
  pending_ = before_ + seen + pending_;
  before_.clear();
  if (options_.format == model::CallFormat::kTagged) {
    // Past the tag, or it would be found again.
    const std::size_t tag = pending_.find(StdView(kOpenTag)) + kOpenTag.size();
    const std::string rest = pending_.substr(tag);
    pending_.resize(tag);
    Pass(out);
    pending_ = rest;
    state_ = State::kText;
  } else {
    state_ = State::kPlain;
  }
  if (state_ == State::kPlain) Pass(out);
  return true;
}

}  // namespace llava::api
