#include "training/generate/generate.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "training/endpoint/asking_progress.h"
#include "training/endpoint/endpoint.h"
#include "training/endpoint/ledger.h"
#include "training/generate/items.h"
#include "training/generate/near_duplicates.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kMaxPlanBytes = 1 << 20;
constexpr std::int64_t kBytesOfAToken = 4;        // of English, on average
constexpr std::int64_t kTokensOfAPicture = 1000;  // services differ
constexpr int kShownPrompts = 3;

// What came of an item.
struct Outcome {
  std::optional<ParsedReply> parsed;  // nothing: no answer
  std::string problem;                // why not
  std::string text;
  std::string model;
  std::string key;
  int attempt = 0;
};

// The text in which near-duplicates are looked for. The questions of descriptions are ours.
std::string OwnText(const std::string& kind, const Dialogue& dialogue) {
  if (kind == "detail") return dialogue.front().second;
  std::string text;
  for (const auto& [question, answer] : dialogue)
    absl::StrAppend(&text, question, " ", answer, " ");
  return text;
}

json::object Counts(const std::map<std::string, std::int64_t>& counts) {
  json::object object;
  for (const auto& [name, count] : counts) object[name] = count;
  return object;
}

std::string ReportJson(const GenerateReport& report) {
  return json::serialize(json::object{{"pictures", report.pictures},
                                      {"asked", report.asked},
                                      {"accepted", Counts(report.accepted)},
                                      {"rejected", Counts(report.rejected)},
                                      {"first_tries", Counts(report.first_tries)},
                                      {"mended", Counts(report.mended)},
                                      {"unanswered", report.unanswered},
                                      {"held_out", report.held_out},
                                      {"untrue", report.untrue},
                                      {"prompt_tokens", report.spent.prompt},
                                      {"completion_tokens", report.spent.completion},
                                      {"cost", report.cost}}) +
         "\n";
}

absl::Status WriteWhole(const std::string& path, const std::string& bytes) {
  RETURN_IF_ERROR(WriteFile(path + ".new", bytes));
  return RenameFile(path + ".new", path);
}

// The folder belongs to one plan.
absl::Status Claim(const GeneratePlan& plan, const GenerateInputs& inputs) {
  const std::string identity = absl::StrCat(PlanIdentity(plan), "\n", inputs.fingerprint, "\n");
  const std::string file = plan.output + "/plan.identity";
  if (!IsThere(file)) return WriteWhole(file, identity);
  ASSIGN_OR_RETURN(const std::string before, ReadFile(file, kMaxPlanBytes));
  if (before == identity) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(plan.output, " was begun with another plan, pictures or examples (", file,
                   "): only endpoint and budget may change; choose another output"));
}

class Generation {
 public:
  Generation(const GeneratePlan& plan, const Clock& clock,
             const std::function<void(const std::string&)>& on_progress,
             const std::atomic<bool>* stop)
      : plan_(plan), clock_(clock), on_progress_(on_progress), stop_(stop) {}

  absl::StatusOr<GenerateReport> Run(absl::Status* ended) {
    std::error_code error;
    fs::create_directories(plan_.output, error);
    if (error) return absl::ErrnoToStatus(error.value(), plan_.output);
    ASSIGN_OR_RETURN(inputs_, ReadInputs(plan_));
    RETURN_IF_ERROR(Claim(plan_, inputs_));
    ASSIGN_OR_RETURN(Ledger ledger, Ledger::Open(plan_.output + "/ledger.jsonl"));
    ASSIGN_OR_RETURN(endpoint_, Endpoint::Make(plan_.endpoint, std::move(ledger), &clock_));
    outcomes_.resize(inputs_.items.size());
    *ended = AskTwice();
    if (!ended->ok() && !absl::IsResourceExhausted(*ended)) return *ended;
    RETURN_IF_ERROR(Assemble());
    if (ended->ok() && report_.unanswered == report_.asked) {
      *ended = absl::UnavailableError(
          absl::StrCat("none of ", report_.asked,
                       " requests was answered; the last of them: ", outcomes_.back().problem));
    }
    return std::move(report_);
  }

 private:
  absl::Status AskTwice() {
    std::vector<std::size_t> items;
    for (std::size_t i = 0; i < inputs_.items.size(); ++i) items.push_back(i);
    RETURN_IF_ERROR(Ask(items, 1));
    items.clear();
    for (std::size_t i = 0; i < outcomes_.size(); ++i) {
      const auto& parsed = outcomes_[i].parsed;
      if (!parsed.has_value() || parsed->rejected.empty()) continue;
      ++report_.first_tries[parsed->rejected];
      report_.untrue += parsed->rejected == "untrue" ? 1 : 0;
      items.push_back(i);
    }
    return Ask(items, 2);
  }

  absl::Status Ask(const std::vector<std::size_t>& items, int attempt) {
    const auto all = static_cast<std::int64_t>(items.size());
    AskingProgress progress(clock_, *endpoint_, on_progress_, 0, all);
    const auto make = [&](std::int64_t index) -> absl::StatusOr<ChatRequest> {
      const GenerateItem& item = inputs_.items[items[static_cast<std::size_t>(index)]];
      return RequestOf(plan_, inputs_, item, attempt);
    };
    const auto keep = [&](std::int64_t index, const absl::StatusOr<ChatReply>& reply) {
      Keep(items[static_cast<std::size_t>(index)], attempt, reply);
      progress.Answered();
      return absl::OkStatus();
    };
    return endpoint_->Run(all, make, keep, stop_);
  }

  void Keep(std::size_t index, int attempt, const absl::StatusOr<ChatReply>& reply) {
    const GenerateItem& item = inputs_.items[index];
    Outcome& outcome = outcomes_[index];
    if (!reply.ok()) {  // a first answer that was rejected stays
      outcome.problem = std::string(reply.status().message());
      return;
    }
    const auto body = RequestBody(plan_.endpoint.model, RequestOf(plan_, inputs_, item, attempt));
    outcome = {ReadReply(plan_, inputs_, item, reply->text, reply->finish_reason == "length"),
               "",
               reply->text,
               reply->model.empty() ? plan_.endpoint.model : reply->model,
               body.ok() ? RequestKey(*body).Hex() : "",
               attempt};
  }

  absl::Status Assemble() {
    report_.pictures = std::ssize(inputs_.pictures);
    report_.asked = std::ssize(inputs_.items);
    std::map<std::size_t, NearDuplicates> seen;  // by kind
    std::string rows, held_out, rejects;
    for (std::size_t i = 0; i < outcomes_.size(); ++i) {
      const GenerateItem& item = inputs_.items[i];
      const PictureContext& picture = inputs_.pictures[item.picture];
      const std::string& kind = plan_.kinds[item.kind].name;
      Outcome& outcome = outcomes_[i];
      if (!outcome.parsed.has_value()) {
        ++report_.unanswered;
        absl::StrAppend(&rejects, Reject(picture, kind, "unanswered", outcome.problem));
        continue;
      }
      ParsedReply& parsed = *outcome.parsed;
      for (const auto& [what, count] : parsed.mended) report_.mended[what] += count;
      auto& duplicates = seen.try_emplace(item.kind, plan_.near_duplicate).first->second;
      if (parsed.rejected.empty() && duplicates.Add(OwnText(kind, parsed.dialogue)) >= 0) {
        parsed.rejected = "duplicate";
      }
      if (!parsed.rejected.empty()) {
        ++report_.rejected[parsed.rejected];
        absl::StrAppend(&rejects, Reject(picture, kind, parsed.rejected, outcome.text));
        continue;
      }
      ++report_.accepted[kind];
      const bool held = ChanceOf(plan_, "held out", picture.image) < plan_.held_out;
      report_.held_out += held ? 1 : 0;
      absl::StrAppend(held ? &held_out : &rows,
                      RowJson(plan_, picture, kind, parsed.dialogue, outcome.key, outcome.model,
                              outcome.attempt),
                      "\n");
    }
    report_.spent = endpoint_->stats().spent;
    report_.cost = endpoint_->stats().cost;
    RETURN_IF_ERROR(WriteWhole(plan_.output + "/held_out.jsonl", held_out));
    RETURN_IF_ERROR(WriteWhole(plan_.output + "/rejects.jsonl", rejects));
    RETURN_IF_ERROR(WriteWhole(plan_.output + "/report.json", ReportJson(report_)));
    return WriteWhole(plan_.output + "/instruct.jsonl", rows);
  }

  static std::string Reject(const PictureContext& picture, const std::string& kind,
                            const std::string& reason, const std::string& text) {
    return json::serialize(json::object{
               {"id", picture.id}, {"kind", kind}, {"reason", reason}, {"text", text}}) +
           "\n";
  }

  const GeneratePlan& plan_;
  const Clock& clock_;
  const std::function<void(const std::string&)>& on_progress_;
  const std::atomic<bool>* const stop_;
  GenerateInputs inputs_;
  std::unique_ptr<Endpoint> endpoint_;
  std::vector<Outcome> outcomes_;  // by item
  GenerateReport report_;
};

std::string PromptText(const ChatRequest& request) {
  std::string text;
  for (const EndpointMessage& message : request.messages) {
    absl::StrAppend(&text, "[", message.role, "]\n");
    for (const std::string& image : message.images) absl::StrAppend(&text, image, "\n");
    absl::StrAppend(&text, message.text, "\n");
  }
  return text;
}

// What the plan's bounds are, for a person: nothing without bounds.
std::string BoundsText(const EndpointOptions& endpoint) {
  std::vector<std::string> bounds;
  if (endpoint.max_cost.has_value()) {
    bounds.push_back(absl::StrCat(*endpoint.max_cost, " of money"));
  }
  if (endpoint.max_tokens_total.has_value()) {
    bounds.push_back(absl::StrCat(*endpoint.max_tokens_total, " tokens"));
  }
  if (bounds.empty()) return "";
  return absl::StrCat("the budget ends it at ", absl::StrJoin(bounds, " or "), "\n");
}

json::array MessagesJson(const ChatRequest& request) {
  json::array messages;
  for (const EndpointMessage& message : request.messages) {
    json::object shown{{"role", message.role}, {"content", message.text}};
    if (!message.images.empty()) shown["images"] = json::value_from(message.images);
    messages.push_back(std::move(shown));
  }
  return messages;
}

}  // namespace

absl::StatusOr<GenerateReport> Generate(const GeneratePlan& plan, const Clock& clock,
                                        const std::function<void(const std::string&)>& on_progress,
                                        const std::atomic<bool>* stop, absl::Status* ended) {
  return Generation(plan, clock, on_progress, stop).Run(ended);
}

absl::StatusOr<std::string> DryRun(const GeneratePlan& plan) {
  std::error_code error;
  fs::create_directories(plan.output, error);
  ASSIGN_OR_RETURN(const GenerateInputs inputs, ReadInputs(plan));
  std::string lines, shown;
  TokenCount tokens, most;
  for (std::size_t i = 0; i < inputs.items.size(); ++i) {
    const GenerateItem& item = inputs.items[i];
    const ChatRequest request = RequestOf(plan, inputs, item, 1);
    const std::string text = PromptText(request);
    tokens.prompt += std::ssize(text) / kBytesOfAToken +
                     kTokensOfAPicture * std::ssize(request.messages.back().images);
    tokens.completion += request.max_tokens;
    most.prompt += 2 * MostPromptTokens(request);  // asked again
    most.completion += 2 * request.max_tokens;
    absl::StrAppend(&lines,
                    json::serialize(json::object{{"id", inputs.pictures[item.picture].id},
                                                 {"kind", plan.kinds[item.kind].name},
                                                 {"messages", MessagesJson(request)}}),
                    "\n");
    if (i < kShownPrompts) absl::StrAppend(&shown, text, "\n");
  }
  RETURN_IF_ERROR(WriteWhole(plan.output + "/prompts.jsonl", lines));
  const Budget budget(plan.endpoint);
  return absl::StrCat(
      shown,
      absl::StrFormat("%d requests about %d pictures, about %d tokens in and at most %d out, "
                      "about %.2f of money; at most %.2f, were each asked twice\n",
                      inputs.items.size(), inputs.pictures.size(), tokens.prompt, tokens.completion,
                      budget.CostOf(tokens), budget.CostOf(most)),
      BoundsText(plan.endpoint));
}

std::string ToText(const GenerateReport& report) {
  std::string text =
      absl::StrFormat("%d requests about %d pictures\n", report.asked, report.pictures);
  const auto list = [&text](const char* what, const std::map<std::string, std::int64_t>& counts) {
    for (const auto& [name, count] : counts) {
      absl::StrAppendFormat(&text, "%-9s %-24s %8d\n", what, name, count);
    }
  };
  list("accepted", report.accepted);
  list("again", report.first_tries);
  list("rejected", report.rejected);
  list("mended", report.mended);
  absl::StrAppendFormat(&text, "%d rows held out, %d without an answer; %d tokens, cost %.4f\n",
                        report.held_out, report.unanswered, report.spent.total(), report.cost);
  return text;
}

}  // namespace llava::training
