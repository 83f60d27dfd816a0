#include "training/endpoint/ledger.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/json_reader.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMaxLedgerBytes = std::int64_t{8} << 30;
constexpr std::int64_t kManyTokens = std::int64_t{1} << 40;
constexpr double kHugeNumber = 1e15;
constexpr char kSent[] = "sent";

std::string ToLine(const LedgerEntry& entry) {
  const ChatReply& reply = entry.reply;
  return json::serialize(json::object{{"key", entry.key.Hex()},
                                      {"attempt", entry.attempt},
                                      {"status", entry.status},
                                      {"http", entry.http},
                                      {"model", reply.model},
                                      {"finish_reason", reply.finish_reason},
                                      {"prompt_tokens", reply.prompt_tokens},
                                      {"completion_tokens", reply.completion_tokens},
                                      {"estimated", reply.estimated},
                                      {"seconds", entry.seconds},
                                      {"usd", entry.cost},
                                      {"text", reply.text}});
}

absl::StatusOr<LedgerEntry> FromLine(const std::string& line, const std::string& place) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(line, place));
  JsonReader reader(place, object);
  LedgerEntry entry;
  const std::string key = reader.String("key", "");
  const bool is_hex =
      std::all_of(key.begin(), key.end(), [](unsigned char c) { return absl::ascii_isxdigit(c); });
  if (key.size() != 2 * entry.key.bytes.size() || !is_hex) {
    reader.Fail("key", "64 hexadecimal digits");
  }
  entry.attempt = reader.Int("attempt", 1, 0, kManyTokens);
  entry.http = static_cast<int>(reader.Int("http", 0, 0, 999));
  entry.status = reader.String("status", "");
  entry.reply.model = reader.String("model", "");
  entry.reply.finish_reason = reader.String("finish_reason", "");
  entry.reply.prompt_tokens = reader.Int("prompt_tokens", 0, 0, kManyTokens);
  entry.reply.completion_tokens = reader.Int("completion_tokens", 0, 0, kManyTokens);
  entry.reply.estimated = reader.Bool("estimated", false);
  entry.seconds = reader.Double("seconds", 0, 0, kHugeNumber);
  entry.cost = reader.Double("usd", 0, 0, kHugeNumber);
  entry.reply.text = reader.String("text", "");
  if (!reader.status().ok()) return absl::DataLossError(reader.status().message());
  const std::string bytes = absl::HexStringToBytes(key);
  std::copy(bytes.begin(), bytes.end(), entry.key.bytes.begin());
  return entry;
}

}  // namespace

absl::StatusOr<Ledger> Ledger::Open(const std::string& path) {
  std::vector<std::string> lines;
  ASSIGN_OR_RETURN(LineAppender journal, LineAppender::Open(path, kMaxLedgerBytes, &lines));
  Ledger ledger;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto entry = FromLine(lines[i], absl::StrCat(path, ":", i + 1));
    if (!entry.ok()) return absl::DataLossError(entry.status().message());
    ledger.Count(*entry);
  }
  for (const auto& [key, worst] : ledger.begun_) ledger.AddSpent(worst);
  ledger.begun_.clear();
  ledger.journal_ = std::move(journal);
  return ledger;
}

const ChatReply* Ledger::Find(const Digest& key) const {
  const auto found = answers_.find(key);
  return found == answers_.end() ? nullptr : &found->second;
}

// A machine that loses its power may forget this line: the others are what is never paid twice.
absl::Status Ledger::Begin(const Digest& key, const TokenCount& worst, double cost) {
  LedgerEntry entry{key, 0, 0, kSent, {}, 0, cost};
  entry.reply.prompt_tokens = worst.prompt;
  entry.reply.completion_tokens = worst.completion;
  if (journal_.has_value()) RETURN_IF_ERROR(journal_->Append(ToLine(entry)));
  Count(entry);
  return absl::OkStatus();
}

absl::Status Ledger::Append(const LedgerEntry& entry) {
  if (journal_.has_value()) RETURN_IF_ERROR(journal_->AppendDurably(ToLine(entry)));
  Count(entry);
  return absl::OkStatus();
}

void Ledger::Count(const LedgerEntry& entry) {
  const Spent spent{{entry.reply.prompt_tokens, entry.reply.completion_tokens}, entry.cost};
  const auto begun = begun_.find(entry.key);
  if (entry.status == kSent) {
    if (begun != begun_.end()) AddSpent(begun->second);  // of a run that was killed
    begun_[entry.key] = spent;
    return;
  }
  if (begun != begun_.end()) begun_.erase(begun);
  AddSpent(spent);
  if (entry.status == "ok") answers_[entry.key] = entry.reply;
}

void Ledger::AddSpent(const Spent& spent) {
  spent_.tokens.prompt += spent.tokens.prompt;
  spent_.tokens.completion += spent.tokens.completion;
  spent_.cost += spent.cost;
}

}  // namespace llava::training
