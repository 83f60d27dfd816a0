#include "rpc/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "grpc/reflection/v1/reflection.pb.h"

namespace llava::rpc {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::FileDescriptorResponse;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr std::size_t kMaxMessageBytes = 4096;

// The file after what it imports.
void AddFile(const FileDescriptor& file, std::set<const FileDescriptor*>* seen,
             FileDescriptorResponse* response) {
  if (!seen->insert(&file).second) return;
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), seen, response);
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  proto.SerializeToString(response->add_file_descriptor_proto());
}

void AnswerFile(const FileDescriptor* file, const std::string& asked,
                ServerReflectionResponse* response) {
  if (file == nullptr) {
    response->mutable_error_response()->set_error_code(grpc::NOT_FOUND);
    response->mutable_error_response()->set_error_message(absl::StrCat(asked, " is not known"));
    return;
  }
  std::set<const FileDescriptor*> seen;
  AddFile(*file, &seen, response->mutable_file_descriptor_response());
}

void Answer(const ServerReflectionRequest& request, const std::vector<std::string>& services,
            ServerReflectionResponse* response) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  *response->mutable_original_request() = request;
  response->set_valid_host(request.host());
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      return AnswerFile(pool.FindFileByName(request.file_by_filename()), request.file_by_filename(),
                        response);
    case ServerReflectionRequest::kFileContainingSymbol:
      return AnswerFile(pool.FindFileContainingSymbol(request.file_containing_symbol()),
                        request.file_containing_symbol(), response);
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : services) {
        response->mutable_list_services_response()->add_service()->set_name(name);
      }
      return;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      break;
  }
  response->mutable_error_response()->set_error_code(grpc::UNIMPLEMENTED);
  response->mutable_error_response()->set_error_message(
      "expected file_by_filename, file_containing_symbol or list_services");
}

}  // namespace

// One question after the other.
class ReflectionService::Call final : public RawReactor {
 public:
  Call(ReflectionService* service, const absl::Status& known) : service_(service) {
    place_ = service_->calls_.Enter([this] {
      End({grpc::RESOURCE_EXHAUSTED, absl::StrCat("more than ", kMaxCalls, " calls")});
    });
    if (known.ok()) {
      StartRead(&bytes_);
    } else {
      End({static_cast<grpc::StatusCode>(known.code()), MessageOf(known)});
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(grpc::Status::OK);
    ServerReflectionRequest request;
    CallGuard::Share share;
    absl::Status status =
        bytes_.Length() > kMaxMessageBytes
            ? absl::InvalidArgumentError(absl::StrCat("at most ", kMaxMessageBytes, " bytes"))
            : service_->guard_->Parse(&bytes_, &request, &share);
    if (!status.ok()) {
      return End({static_cast<grpc::StatusCode>(status.code()), MessageOf(status)});
    }
    ServerReflectionResponse response;
    Answer(request, service_->services_, &response);
    MutexLock lock(&mutex_);
    if (ended_) return;
    bytes_ = ToBytes(response);
    StartWrite(&bytes_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End({grpc::CANCELLED, "the caller has gone"});
    MutexLock lock(&mutex_);
    if (!ended_) StartRead(&bytes_);
  }

  void OnCancel() override { End({grpc::CANCELLED, "the caller has gone"}); }

  void OnDone() override {
    service_->calls_.Leave(place_);
    delete this;
  }

 private:
  void End(grpc::Status status) {
    MutexLock lock(&mutex_);
    if (!std::exchange(ended_, true)) Finish(std::move(status));
  }

  ReflectionService* const service_;
  OpenCalls::Id place_;
  grpc::ByteBuffer bytes_;  // read into, then written from
  Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

ReflectionService::ReflectionService(std::vector<std::string> services, CallGuard* guard)
    : services_(std::move(services)), guard_(guard) {
  const auto start = [this](grpc::CallbackServerContext* context) {
    return new Call(this, guard_->AuthenticateAny(*context).status());
  };
  AddMethod("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", start);
  AddMethod("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", start);
}

}  // namespace llava::rpc
