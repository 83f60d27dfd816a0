#include "server/registry/probes.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace llava::registry {
namespace {

// A probe that takes longer says that what is asked cannot serve.
constexpr Duration kProbeTimeout = std::chrono::minutes(2);

// Probes compare token ids, so nobody needs their text.
class NoText final : public engine::TextDecoder {
 public:
  bool may_stop() const override { return false; }
  Delta Push(std::int32_t) override { return {}; }
  Delta Finish() override { return {}; }
};

}  // namespace

absl::Status ProbeRunner::Run(std::span<const PreparedProbe> probes,
                              std::span<engine::Engine* const> engines, const Digest& version,
                              const std::shared_ptr<const scheduling::Adapter>& adapter) const {
  for (engine::Engine* engine : engines) {
    for (const PreparedProbe& probe : probes) {
      scheduling::Request request = probe.request;
      request.version = version;
      request.adapter = adapter;
      ASSIGN_OR_RETURN(auto ids, RunGreedy(*engine, std::move(request)));
      if (ids.size() > probe.expected.size()) ids.resize(probe.expected.size());
      if (ids == probe.expected) continue;
      return absl::FailedPreconditionError(absl::StrCat("probe \"", probe.name, "\" answered ids [",
                                                        absl::StrJoin(ids, ", "), "], expected [",
                                                        absl::StrJoin(probe.expected, ", "), "]"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::int32_t>> ProbeRunner::RunGreedy(
    engine::Engine& engine, scheduling::Request request) const {
  RETURN_IF_ERROR((*should_continue_)());
  request.arrival = clock_->Now();
  request.deadline = request.arrival + kProbeTimeout;
  request.priority = scheduling::Priority::kLow;  // those who are being served go first
  ASSIGN_OR_RETURN(
      auto stream,
      engine.Submit({std::move(request), {}, [] { return std::make_unique<NoText>(); }}));
  std::vector<std::int32_t> ids;
  while (auto event = stream.Pop()) {
    if (auto* end = std::get_if<engine::End>(&*event)) {
      if (!end->status.ok()) return end->status;
      break;
    }
    for (const auto& token : std::get<engine::Delta>(*event).tokens) ids.push_back(token.token);
  }
  return ids;
}

}  // namespace llava::registry
