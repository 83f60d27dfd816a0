// A daemon inside the test, on real sockets, with the fake backend and the golden checkpoint's
// words.
#ifndef LLAVA_TESTS_INTEGRATION_DAEMON_H_
#define LLAVA_TESTS_INTEGRATION_DAEMON_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "llava/v1/chat.grpc.pb.h"
#include "server/app/app.h"
#include "tests/support/fake_backend.h"

namespace llava::testing {

// Ports on 127.0.0.1 that the system picks, and the golden checkpoint.
server::Config TestConfig();

class Daemon {
 public:
  explicit Daemon(const server::Config& config = TestConfig(), Duration step_time = {});

  server::App& app() { return *app_; }
  std::string grpc_address() const;

  std::unique_ptr<llava::v1::ChatService::Stub> Stub() const;
  std::unique_ptr<llava::v1::ChatService::Stub> Stub(
      std::shared_ptr<grpc::ChannelCredentials> credentials) const;

  // The text of http://127.0.0.1:PORT<path> of the metrics port; the status line is dropped.
  std::string Get(const std::string& path) const;
  std::map<std::string, double> Metrics() const;

 private:
  RealClock clock_;
  FakeBackend backend_;
  std::unique_ptr<server::App> app_;
};

std::string GoldenImage(const std::string& name);

// One user message: images, then text.
llava::v1::ChatRequest Ask(const std::string& text, const std::vector<std::string>& images,
                           int max_tokens);

// What a whole stream said.
struct StreamResult {
  grpc::Status status;
  std::string text;
  std::vector<int> token_ids;
  llava::v1::ChatStreamResponse last;
  int events = 0;
};
StreamResult ReadStream(llava::v1::ChatService::Stub& stub, const llava::v1::ChatRequest& request,
                        grpc::ClientContext* context);

}  // namespace llava::testing

#endif  // LLAVA_TESTS_INTEGRATION_DAEMON_H_
