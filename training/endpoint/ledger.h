// What was asked and paid, a line when an attempt begins and one when it has ended, on the disk
// before anybody acts on it: a question that has an answer is never paid for twice, and what was in
// flight when the process was killed counts as paid.
#ifndef LLAVA_TRAINING_ENDPOINT_LEDGER_H_
#define LLAVA_TRAINING_ENDPOINT_LEDGER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/lines/line_file.h"
#include "training/endpoint/budget.h"
#include "training/endpoint/chat_reply.h"

namespace llava::training {

struct LedgerEntry {
  Digest key;
  std::int64_t attempt = 1;
  int http = 0;
  std::string status;  // "ok", "sent", or what was wrong
  ChatReply reply;     // with the tokens also when it was no answer
  double seconds = 0;
  double cost = 0;
};

// Not thread-safe.
class Ledger {
 public:
  // In memory alone.
  Ledger() = default;

  // The errors of LineAppender::Open; DATA_LOSS names a line that is no entry.
  static absl::StatusOr<Ledger> Open(const std::string& path);

  // The answer to what was asked under this key, until the next Append; nullptr without one.
  const ChatReply* Find(const Digest& key) const;

  // An attempt is about to be sent, which can cost so many tokens, and `cost`, at the most.
  absl::Status Begin(const Digest& key, const TokenCount& worst, double cost);

  // It has ended. REQUIRES: the attempts of one key follow one another.
  absl::Status Append(const LedgerEntry& entry);

  // Of all entries, those of earlier runs too; and the most that their attempts without an end can
  // have cost.
  const TokenCount& spent() const { return spent_.tokens; }
  // Likewise, in money, at the prices of when it was paid.
  double cost() const { return spent_.cost; }

 private:
  struct Spent {
    TokenCount tokens;
    double cost = 0;
  };

  void Count(const LedgerEntry& entry);
  void AddSpent(const Spent& spent);

  std::optional<LineAppender> journal_;
  std::unordered_map<Digest, ChatReply> answers_;
  std::unordered_map<Digest, Spent> begun_;  // and not ended
  Spent spent_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_LEDGER_H_
