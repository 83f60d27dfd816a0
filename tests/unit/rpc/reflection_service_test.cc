#include "rpc/reflection_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>
#include <string>

#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "llava/v1/chat.pb.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace llava::rpc {
namespace {

using grpc::reflection::v1::ServerReflection;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;
using ::testing::UnorderedElementsAre;

class ReflectionServiceTest : public RpcTest {
 protected:
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<ServerReflectionRequest, ServerReflectionResponse>>
        stream;
    ServerReflectionResponse Ask(const ServerReflectionRequest& request) const {
      ServerReflectionResponse response;
      EXPECT_TRUE(stream->Write(request));
      EXPECT_TRUE(stream->Read(&response));
      return response;
    }
  };
  std::unique_ptr<Stream> Open(const std::string& token) {
    auto stream = std::make_unique<Stream>();
    Token(&stream->context, token);
    stream->stream = ServerReflection::NewStub(channel_)->ServerReflectionInfo(&stream->context);
    return stream;
  }
};

TEST_F(ReflectionServiceTest, ListsAndDescribes) {
  Start();
  const auto stream = Open("r");  // any role
  ServerReflectionRequest request;
  request.set_list_services("*");
  std::vector<std::string> names;
  const ServerReflectionResponse listed = stream->Ask(request);
  for (const auto& service : listed.list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_THAT(names, UnorderedElementsAre("test.Echo", "grpc.health.v1.Health",
                                          "grpc.reflection.v1.ServerReflection"));
  request.set_file_containing_symbol("grpc.health.v1.Health");
  const auto by_symbol = stream->Ask(request);
  ASSERT_EQ(by_symbol.file_descriptor_response().file_descriptor_proto_size(), 1);
  google::protobuf::FileDescriptorProto file;
  ASSERT_TRUE(file.ParseFromString(by_symbol.file_descriptor_response().file_descriptor_proto(0)));
  EXPECT_EQ(file.name(), "grpc/health/v1/health.proto");
  request.set_file_by_filename(file.name());
  EXPECT_EQ(stream->Ask(request).file_descriptor_response().file_descriptor_proto_size(), 1);
  request.set_file_by_filename("no.proto");
  EXPECT_EQ(stream->Ask(request).error_response().error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(stream->Ask({}).error_response().error_code(), grpc::UNIMPLEMENTED);
  EXPECT_TRUE(stream->stream->WritesDone());
  EXPECT_TRUE(stream->stream->Finish().ok());
}

// A client puts the files together as they come: each once, after what it imports.
TEST_F(ReflectionServiceTest, AFileComesAfterWhatItImports) {
  v1::ChatRequest::descriptor();  // links the file
  Start();
  const auto stream = Open("r");
  ServerReflectionRequest request;
  request.set_file_by_filename("llava/v1/chat.proto");
  const ServerReflectionResponse response = stream->Ask(request);
  std::set<std::string> seen;
  std::string last;
  for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto file;
    ASSERT_TRUE(file.ParseFromString(bytes));
    for (const std::string& import : file.dependency())
      EXPECT_TRUE(seen.contains(import)) << import;
    EXPECT_TRUE(seen.insert(file.name()).second) << file.name();
    last = file.name();
  }
  EXPECT_EQ(last, "llava/v1/chat.proto");
  EXPECT_GT(seen.size(), 1u);
  stream->context.TryCancel();
}

TEST_F(ReflectionServiceTest, AnswersUnderItsOlderName) {
  Start();
  EXPECT_TRUE(Call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                   std::string("\x3a\x01*"))
                  .ok());
  EXPECT_GT(answer_.Length(), 0u);
}

TEST_F(ReflectionServiceTest, IsForTokensAndBounded) {
  Start();
  EXPECT_EQ(Open("")->stream->Finish().error_code(), grpc::UNAUTHENTICATED);
  std::vector<std::unique_ptr<Stream>> streams;
  ServerReflectionRequest request;
  request.set_list_services("*");
  for (std::size_t i = 0; i <= ReflectionService::kMaxCalls; ++i) {
    streams.push_back(Open("a"));
    streams.back()->Ask(request);
  }
  EXPECT_EQ(streams.front()->stream->Finish().error_code(), grpc::RESOURCE_EXHAUSTED);
  streams.back()->Ask(request);
  for (const auto& stream : streams) stream->context.TryCancel();
}

TEST_F(ReflectionServiceTest, CanBeOff) {
  options_.reflection = false;
  Start();
  EXPECT_EQ(Open("a")->stream->Finish().error_code(), grpc::UNIMPLEMENTED);
}

}  // namespace
}  // namespace llava::rpc
