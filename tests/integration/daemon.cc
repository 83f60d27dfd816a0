#include "tests/integration/daemon.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include "base/check.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/exposition.h"

namespace llava::testing {

server::Config TestConfig() {
  server::Config config;
  config.checkpoint = model::GoldenCheckpointDir();
  config.model_name = "golden";
  config.listen = config.http = config.metrics = "127.0.0.1:0";
  config.log_level = "warning";
  config.kv_cache_bytes = 4 << 20;
  return config;
}

Daemon::Daemon(const server::Config& config, Duration step_time) : backend_(step_time) {
  auto app = server::App::Start(config, &backend_, &clock_);
  if (!app.ok()) CheckFailed(__FILE__, __LINE__, "App::Start", app.status().ToString());
  app_ = *std::move(app);
  absl::Status serving = app_->Serve();
  if (serving.ok()) serving = app_->AwaitFirst();
  if (!serving.ok()) CheckFailed(__FILE__, __LINE__, "Serve", serving.ToString());
}

std::string Daemon::grpc_address() const {
  return "127.0.0.1:" + std::to_string(app_->ports().grpc);
}

std::unique_ptr<llava::v1::ChatService::Stub> Daemon::Stub() const {
  return Stub(grpc::InsecureChannelCredentials());
}

std::unique_ptr<llava::v1::ChatService::Stub> Daemon::Stub(
    std::shared_ptr<grpc::ChannelCredentials> credentials) const {
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("localhost");
  // A connection of its own, so that nothing is left of other tests.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return llava::v1::ChatService::NewStub(
      grpc::CreateCustomChannel(grpc_address(), credentials, arguments));
}

std::string Daemon::Get(const std::string& path) const {
  namespace beast = boost::beast;
  boost::asio::io_context io;
  beast::tcp_stream stream(io);
  stream.connect(boost::asio::ip::tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"),
                                                static_cast<std::uint16_t>(app_->ports().metrics)));
  beast::http::request<beast::http::empty_body> request(beast::http::verb::get, path, 11);
  request.set(beast::http::field::connection, "close");
  beast::http::write(stream, request);
  beast::flat_buffer buffer;
  beast::http::response<beast::http::string_body> response;
  beast::http::read(stream, buffer, response);
  return response.body();
}

std::map<std::string, double> Daemon::Metrics() const { return Samples(Get("/metrics")); }

std::string GoldenImage(const std::string& name) {
  return model::ReadBytes(std::string("tests/golden/data/images/") + name);
}

llava::v1::ChatRequest Ask(const std::string& text, const std::vector<std::string>& images,
                           int max_tokens) {
  llava::v1::ChatRequest request;
  llava::v1::ChatMessage* message = request.add_messages();
  message->set_role(llava::v1::ROLE_USER);
  for (const std::string& image : images) message->add_parts()->set_image(image);
  message->add_parts()->set_text(text);
  request.mutable_sampling()->set_max_tokens(max_tokens);
  request.mutable_sampling()->set_ignore_eos(true);
  request.set_return_token_ids(true);
  return request;
}

StreamResult ReadStream(llava::v1::ChatService::Stub& stub, const llava::v1::ChatRequest& request,
                        grpc::ClientContext* context) {
  llava::v1::ChatStreamRequest stream_request;
  *stream_request.mutable_request() = request;
  StreamResult result;
  const auto reader = stub.ChatStream(context, stream_request);
  llava::v1::ChatStreamResponse event;
  while (reader->Read(&event)) {
    ++result.events;
    result.text += event.text_delta();
    result.token_ids.insert(result.token_ids.end(), event.token_ids().begin(),
                            event.token_ids().end());
    result.last = event;
  }
  result.status = reader->Finish();
  return result;
}

}  // namespace llava::testing
