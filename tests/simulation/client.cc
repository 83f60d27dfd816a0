#include "tests/simulation/client.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tests/support/fake_executor.h"

namespace llava::simulation {
namespace {

using scheduling::FinishReason;

Expected Expect(const ClientSpec& spec, int choice, int context_tokens) {
  const scheduling::Request& request = spec.request;
  const int room = context_tokens - static_cast<int>(request.prompt_ids.size());
  const int most = std::min(request.sampling.max_tokens, room);
  Expected expected;
  for (const std::int32_t token : testing::FakeAnswer(request, choice, most)) {
    const int index = static_cast<int>(expected.tokens.size());
    expected.tokens.push_back(token);
    if (scheduling::IsEndToken(request, token, index) || token == spec.stop_token) {
      expected.finish = FinishReason::kStop;
      return expected;
    }
    absl::StrAppend(&expected.text, " ", token);
  }
  expected.finish = FinishReason::kLength;
  return expected;
}

template <typename... Parts>
absl::Status Wrong(scheduling::RequestId id, const Parts&... parts) {
  return absl::InternalError(absl::StrCat("request ", id.value(), ": ", parts...));
}

}  // namespace

absl::StatusOr<Client> Client::Send(engine::Engine& engine, engine::AdmissionTicket ticket,
                                    const ClientSpec& spec, int context_tokens) {
  engine::Submission submission{spec.request, std::move(ticket), [stop = spec.stop_token] {
                                  return std::make_unique<testing::FakeTextDecoder>(stop);
                                }};
  auto stream = engine.Submit(std::move(submission));
  if (!stream.ok()) return stream.status();
  const scheduling::RequestId id = stream->id();
  Client client(spec, *std::move(stream));
  client.spec_.request.id = id;
  const auto choices = static_cast<std::size_t>(spec.request.n);
  for (int choice = 0; choice < spec.request.n; ++choice) {
    client.expected_.push_back(Expect(client.spec_, choice, context_tokens));
  }
  client.got_.resize(choices);
  client.text_.resize(choices);
  client.finished_.resize(choices);
  return client;
}

absl::Status Client::Read(int most) {
  for (int i = 0; i < most && !ended(); ++i) {
    auto event = stream_.TryPop(nullptr);
    if (!event) return absl::OkStatus();
    RETURN_IF_ERROR(TakeEvent(*std::move(event)));
  }
  return absl::OkStatus();
}

absl::Status Client::ReadReady() {
  if (!*ready_) return absl::OkStatus();
  while (!ended()) {
    auto event = stream_.TryPop([ready = ready_] { *ready = true; });
    *ready_ = event.has_value();
    if (!event) return absl::OkStatus();
    RETURN_IF_ERROR(TakeEvent(*std::move(event)));
  }
  return absl::OkStatus();
}

absl::Status Client::TakeEvent(engine::StreamEvent event) {
  if (auto* end = std::get_if<engine::End>(&event)) {
    end_ = std::move(*end);
    if (stream_.TryPop(nullptr)) return Wrong(id(), "an event after its end");
    return end_->status.ok() ? CheckComplete() : absl::OkStatus();
  }
  if (cancelled_) return Wrong(id(), "a token after its cancel");
  return Take(std::get<engine::Delta>(event));
}

absl::Status Client::Take(const engine::Delta& delta) {
  if (delta.choice < 0 || delta.choice >= request().n) return Wrong(id(), "choice ", delta.choice);
  const auto choice = static_cast<std::size_t>(delta.choice);
  const Expected& expected = expected_[choice];
  if (finished_[choice]) return Wrong(id(), "choice ", choice, " goes on after its finish");
  if (delta.tokens.empty()) return Wrong(id(), "a delta without tokens");
  for (const SampledToken& token : delta.tokens) {
    const std::size_t index = got_[choice]++;
    if (index >= expected.tokens.size() || token.token != expected.tokens[index]) {
      return Wrong(id(), "choice ", choice, " token ", index, " is ", token.token, ", expected ",
                   index < expected.tokens.size() ? expected.tokens[index] : -1);
    }
    const auto alternatives = std::max(0, request().sampling.top_logprobs);
    if (static_cast<int>(token.top.size()) != alternatives) {
      return Wrong(id(), token.top.size(), " alternatives, expected ", alternatives);
    }
  }
  tokens_read_ += static_cast<std::int64_t>(delta.tokens.size());
  text_[choice] += delta.text;
  if (delta.finish == FinishReason::kNone) return absl::OkStatus();
  finished_[choice] = true;
  if (delta.finish != expected.finish || got_[choice] != expected.tokens.size()) {
    return Wrong(id(), "choice ", choice, " finished with reason ", static_cast<int>(delta.finish),
                 " after ", got_[choice], " tokens, expected ", static_cast<int>(expected.finish),
                 " after ", expected.tokens.size());
  }
  if (text_[choice] != expected.text) {
    return Wrong(id(), "choice ", choice, " text \"", text_[choice], "\", expected \"",
                 expected.text, "\"");
  }
  return absl::OkStatus();
}

absl::Status Client::Cancel() {
  RETURN_IF_ERROR(Read(1 << 20));
  if (ended()) return absl::OkStatus();
  stream_.Cancel();
  cancelled_ = true;
  *ready_ = true;  // Read has forgotten whom to call
  return absl::OkStatus();
}

absl::Status Client::CheckComplete() const {
  int tokens = 0;
  for (std::size_t choice = 0; choice < expected_.size(); ++choice) {
    if (!finished_[choice])
      return Wrong(id(), "ended well, but choice ", choice, " did not finish");
    tokens += static_cast<int>(expected_[choice].tokens.size());
  }
  const scheduling::Usage& usage = end_->usage;
  if (usage.generated_tokens != tokens ||
      usage.prompt_tokens != static_cast<int>(request().prompt_ids.size()) ||
      usage.cached_tokens < 0 || usage.cached_tokens >= usage.prompt_tokens) {
    return Wrong(id(), "usage: ", usage.generated_tokens, " generated, ", usage.prompt_tokens,
                 " prompt, ", usage.cached_tokens, " cached");
  }
  if (end_->version != request().version) return Wrong(id(), "answered by another version");
  return absl::OkStatus();
}

}  // namespace llava::simulation
