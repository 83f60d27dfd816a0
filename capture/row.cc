#include "capture/row.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::capture {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxDepth = 32;

struct Format {
  absl::string_view magic;
  const char* ending;
};

constexpr Format kFormats[] = {{"\xff\xd8\xff", ".jpg"},
                               {"\x89PNG", ".png"},
                               {"GIF8", ".gif"},
                               {"RIFF", ".webp"},
                               {"BM", ".bmp"}};

std::size_t CountMarks(absl::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(kPictureMark); at != text.npos;
       at = text.find(kPictureMark, at + 1)) {
    ++count;
  }
  return count;
}

json::object SamplingOf(const Row& row) {
  const SamplingParams& sampling = row.sampling;
  json::object object = {{"temperature", sampling.temperature},
                         {"top_p", sampling.top_p},
                         {"top_k", sampling.top_k},
                         {"min_p", sampling.min_p},
                         {"repetition_penalty", sampling.repetition_penalty},
                         {"presence_penalty", sampling.presence_penalty},
                         {"frequency_penalty", sampling.frequency_penalty},
                         {"max_tokens", sampling.max_tokens}};
  if (sampling.seed.has_value()) object["seed"] = *sampling.seed;
  if (!sampling.stop.empty()) object["stop"] = json::value_from(sampling.stop);
  if (row.is_constrained) object["constrained"] = true;
  return object;
}

json::array ConversationsOf(const Row& row) {
  json::array turns;
  if (!row.system.empty()) turns.push_back({{"from", "system"}, {"value", row.system}});
  for (std::size_t i = 0; i < row.said.size(); ++i) {
    const bool is_answer = i % 2 == 1;
    json::object turn = {{"from", is_answer ? "gpt" : "human"}, {"value", row.said[i]}};
    if (is_answer && i + 1 < row.said.size()) turn["weight"] = 0;
    turns.push_back(std::move(turn));
  }
  return turns;
}

absl::Status Wrong(absl::string_view key, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": expected ", expected));
}

absl::StatusOr<json::object> ParseLine(absl::string_view line) {
  ASSIGN_OR_RETURN(json::value value, ParseJson(StdView(line), kMaxDepth));
  if (!value.is_object()) return absl::InvalidArgumentError("expected an object");
  return std::move(value.as_object());
}

absl::StatusOr<std::string> TextAt(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return Wrong(key, "text");
  return std::string(value->as_string());
}

absl::StatusOr<RowHead> HeadOf(const json::object& object) {
  RowHead head;
  ASSIGN_OR_RETURN(head.id, TextAt(object, "id"));
  const json::value* about = object.if_contains("capture");
  if (about == nullptr || !about->is_object()) return Wrong("capture", "an object");
  const json::object& capture = about->as_object();
  const json::value* number = capture.if_contains("row");
  if (number == nullptr || !number->is_int64()) return Wrong("capture.row", "an integer");
  head.number = number->as_int64();
  ASSIGN_OR_RETURN(head.tenant, TextAt(capture, "tenant"));
  ASSIGN_OR_RETURN(head.conversation, TextAt(capture, "conversation"));
  ASSIGN_OR_RETURN(head.finish, TextAt(capture, "finish"));
  const json::value* pictures = object.if_contains("image");
  if (pictures == nullptr) return head;
  if (!pictures->is_array()) return Wrong("image", "a list of files");
  for (const json::value& picture : pictures->as_array()) {
    if (!picture.is_string()) return Wrong("image", "a list of files");
    head.pictures.emplace_back(picture.as_string());
  }
  return head;
}

}  // namespace

bool HasMark(absl::string_view text) {
  for (const char* mark : {kPictureMark, "<video>", "<audio>"}) {
    if (absl::StrContains(text, mark)) return true;
  }
  return false;
}

std::string ConversationOf(const Row& row, const std::vector<Digest>& pictures) {
  Sha256 sha;
  const std::string& first = row.said.front();
  // Lengths before texts, so that no two beginnings give the same bytes.
  sha.Update(absl::StrCat(row.tenant.size(), " ", row.tenant, first.size(), " ", first));
  for (std::size_t i = 0; i < CountMarks(first); ++i) sha.Update(pictures[i]);
  return sha.Finish().Hex();
}

std::string PictureName(const Digest& digest, absl::string_view bytes) {
  for (const Format& format : kFormats) {
    if (absl::StartsWith(bytes, format.magic)) return absl::StrCat(digest.Hex(), format.ending);
  }
  return digest.Hex();
}

std::string RowLine(const Row& row, std::int64_t number, const std::vector<Digest>& pictures) {
  json::object line = {{"id", row.id}};
  json::array files, digests;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    files.emplace_back(PictureName(pictures[i], row.pictures[i]));
    digests.emplace_back(pictures[i].Hex());
  }
  if (!files.empty()) line["image"] = std::move(files);
  line["conversations"] = ConversationsOf(row);
  json::object about = {{"row", number},
                        {"tenant", row.tenant},
                        {"conversation", ConversationOf(row, pictures)},
                        {"time", row.time},
                        {"model", row.model},
                        {"version", row.version},
                        {"sampling", SamplingOf(row)},
                        {"finish", row.finish},
                        {"digests", std::move(digests)}};
  if (!row.adapter.empty()) about["adapter"] = row.adapter;
  line["capture"] = std::move(about);
  return json::serialize(line);
}

absl::StatusOr<RowHead> ParseRowHead(absl::string_view line) {
  ASSIGN_OR_RETURN(const json::object object, ParseLine(line));
  return HeadOf(object);
}

absl::StatusOr<std::string> WithAnswer(absl::string_view line, absl::string_view answer) {
  ASSIGN_OR_RETURN(json::object object, ParseLine(line));
  json::value* turns = object.if_contains("conversations");
  if (turns == nullptr || !turns->is_array() || turns->as_array().empty() ||
      !turns->as_array().back().is_object()) {
    return Wrong("conversations", "a list of turns");
  }
  turns->as_array().back().as_object()["value"] = json::string_view(answer.data(), answer.size());
  return json::serialize(object);
}

}  // namespace llava::capture
