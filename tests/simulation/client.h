// One simulated client: sends a request, reads its stream (or does not), and knows from the
// one-at-a-time oracle what it has to get.
#ifndef LLAVA_TESTS_SIMULATION_CLIENT_H_
#define LLAVA_TESTS_SIMULATION_CLIENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/engine.h"

namespace llava::simulation {

// What the client wants besides the request itself.
struct ClientSpec {
  scheduling::Request request;
  std::int32_t stop_token = -1;  // of the text decoder; -1: none
};

// What one choice has to be, by the oracle and the stop rules.
struct Expected {
  std::vector<std::int32_t> tokens;
  std::string text;
  scheduling::FinishReason finish = scheduling::FinishReason::kNone;
};

// Every check returns INTERNAL naming what was wrong.
class Client {
 public:
  // Sends it. The engine's refusal, or a client.
  static absl::StatusOr<Client> Send(engine::Engine& engine, engine::AdmissionTicket ticket,
                                     const ClientSpec& spec, int context_tokens);

  // Takes at most `most` events and checks them.
  absl::Status Read(int most);

  // The same, but only after the stream has said that there is something: at first, and after each
  // time that it was found empty, when it has called back.
  absl::Status ReadReady();

  // Asks for the end, after reading what is buffered. From then on nothing but End may come.
  absl::Status Cancel();

  // The end is there, with the status and the tokens it must have.
  bool ended() const { return end_.has_value(); }
  const engine::End& end() const { return *end_; }
  absl::Status CheckComplete() const;  // REQUIRES: ended with OK

  bool cancelled() const { return cancelled_; }
  const scheduling::Request& request() const { return spec_.request; }
  const std::vector<Expected>& expected() const { return expected_; }  // by choice
  scheduling::RequestId id() const { return spec_.request.id; }
  std::int64_t tokens_read() const { return tokens_read_; }

  int stalled_until = 0;     // tick
  int last_progress = 0;     // tick
  int submitted = 0;         // tick
  bool faults_seen = false;  // a step failed while it was alive
  bool found_idle = false;   // nothing else could run when it came

 private:
  Client(ClientSpec spec, engine::TokenStream stream)
      : spec_(std::move(spec)), stream_(std::move(stream)) {}
  absl::Status Take(const engine::Delta& delta);
  absl::Status TakeEvent(engine::StreamEvent event);

  ClientSpec spec_;
  engine::TokenStream stream_;
  std::vector<Expected> expected_;  // by choice
  std::vector<std::size_t> got_;    // tokens by choice
  std::vector<std::string> text_;   // by choice
  std::vector<bool> finished_;      // by choice
  std::optional<engine::End> end_;
  bool cancelled_ = false;
  std::int64_t tokens_read_ = 0;
  std::shared_ptr<bool> ready_ = std::make_shared<bool>(true);  // of ReadReady; the stream sets it
};

}  // namespace llava::simulation

#endif  // LLAVA_TESTS_SIMULATION_CLIENT_H_
