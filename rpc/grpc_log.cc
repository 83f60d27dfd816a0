#include "rpc/grpc_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"

namespace llava::rpc {
namespace {

// gRPC takes a plain function, with nothing to tell it whom to call.
struct Sinks {
  Mutex mutex;
  std::vector<std::shared_ptr<const GrpcLogSink>> all ABSL_GUARDED_BY(mutex);
};
// Never destroyed: gRPC's threads may outlive main.
Sinks& sinks = *new Sinks;

void Forward(bool is_error, const std::string& place, const std::string& message) {
  std::shared_ptr<const GrpcLogSink> sink;
  {
    MutexLock lock(&sinks.mutex);
    if (sinks.all.empty()) return;
    sink = sinks.all.back();
  }
  (*sink)(is_error, place, message);
}

void ForwardGrpc(gpr_log_func_args* line) {
  Forward(line->severity == GPR_LOG_SEVERITY_ERROR, absl::StrCat(line->file, ":", line->line),
          line->message);
}

// An error of protobuf's is a message that somebody sent: text that is no UTF-8, for one.
void ForwardProtobuf(google::protobuf::LogLevel level, const char* file, int line,
                     const std::string& message) {
  Forward(level >= google::protobuf::LOGLEVEL_ERROR, absl::StrCat(file, ":", line), message);
}

}  // namespace

GrpcLogRedirection::GrpcLogRedirection(GrpcLogSink sink)
    : sink_(std::make_shared<const GrpcLogSink>(std::move(sink))) {
  MutexLock lock(&sinks.mutex);
  sinks.all.push_back(sink_);
  gpr_set_log_function(&ForwardGrpc);
  google::protobuf::SetLogHandler(&ForwardProtobuf);
}

GrpcLogRedirection::~GrpcLogRedirection() {
  MutexLock lock(&sinks.mutex);
  std::erase(sinks.all, sink_);
}

}  // namespace llava::rpc
