// A gRPC server in the test's process that remembers what it was asked.
#ifndef LLAVA_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
#define LLAVA_TESTS_UNIT_CLIENT_FAKE_SERVER_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "llava/v1/chat.grpc.pb.h"

namespace llava::client {

class FakeServer {
 public:
  explicit FakeServer(grpc::Service* service) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// Streams "red " and "fox", then what was used; or an error.
class FakeChat final : public v1::ChatService::Service {
 public:
  grpc::Status ChatStream(grpc::ServerContext* context, const v1::ChatStreamRequest* request,
                          grpc::ServerWriter<v1::ChatStreamResponse>* writer) override {
    {
      MutexLock lock(&mutex_);
      requests_.push_back(request->request());
      for (const auto& [key, value] : context->client_metadata()) {
        metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
      }
      if (!error_.ok()) return error_;
    }
    for (const char* piece : {"red ", "fox"}) {
      v1::ChatStreamResponse event;
      event.set_model("m");
      event.set_text_delta(piece);
      event.add_token_ids(1);
      writer->Write(event);
    }
    v1::ChatStreamResponse last;
    last.set_model("m");
    last.mutable_usage()->set_prompt_tokens(7);
    last.mutable_usage()->set_cached_tokens(3);
    last.mutable_usage()->set_generated_tokens(2);
    writer->Write(last);
    return grpc::Status::OK;
  }

  void FailWith(grpc::Status error) {
    MutexLock lock(&mutex_);
    error_ = std::move(error);
  }
  std::vector<v1::ChatRequest> requests() {
    MutexLock lock(&mutex_);
    return requests_;
  }
  std::string metadata(const std::string& key) {
    MutexLock lock(&mutex_);
    return metadata_[key];
  }

 private:
  Mutex mutex_;
  std::vector<v1::ChatRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> metadata_ ABSL_GUARDED_BY(mutex_);
  grpc::Status error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::client

#endif  // LLAVA_TESTS_UNIT_CLIENT_FAKE_SERVER_H_
