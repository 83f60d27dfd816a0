#include "model/checkpoint/unpickler.h"

#include <sys/resource.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using Kind = PickleObject::Kind;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Pickle Read(const std::string& bytes) {
  auto pickle = Unpickle(bytes);
  EXPECT_TRUE(pickle.ok()) << pickle.status();
  return pickle.ok() ? *std::move(pickle) : Pickle{{PickleObject{}}, 0, 0};
}

PickleObject Result(const std::string& bytes) {
  const Pickle pickle = Read(bytes);
  return pickle.objects[pickle.result];
}

std::string ErrorOf(const std::string& bytes) {
  const auto pickle = Unpickle(bytes);
  EXPECT_EQ(pickle.status().code(), absl::StatusCode::kInvalidArgument) << pickle.status();
  return std::string(pickle.status().message());
}

std::string Short(const std::string& text) {  // SHORT_BINUNICODE
  return "\x8c" + std::string(1, static_cast<char>(text.size())) + text;
}

TEST(UnpicklerTest, Literals) {
  EXPECT_EQ(Result("\x80\x02N.").kind, Kind::kNone);
  EXPECT_EQ(Result("\x88.").number, 1);
  EXPECT_EQ(Result("\x89.").number, 0);
  EXPECT_EQ(Result("K\xff.").number, 255);
  EXPECT_EQ(Result(std::string("M\x01\x02.", 4)).number, 0x201);
  EXPECT_EQ(Result("J\xfe\xff\xff\xff.").number, -2);

  EXPECT_EQ(Result(std::string("\x8a\x02\x00\x80.", 5)).number, -32768);
  EXPECT_EQ(Result(Short("word") + ".").text, "word");
  EXPECT_EQ(Result(std::string("X\x03\0\0\0abc.", 9)).text, "abc");
}

TEST(UnpicklerTest, ContainersReferToTheirItems) {
  const Pickle pickle = Read("}q\x05(" + Short("a") + "K\x01" + Short("b") + "K\x02\x85u.");
  const PickleObject& dict = pickle.objects[pickle.result];
  ASSERT_EQ(dict.kind, Kind::kDict);
  ASSERT_EQ(dict.items.size(), 4u);
  EXPECT_EQ(pickle.objects[dict.items[2]].text, "b");
  const PickleObject& tuple = pickle.objects[dict.items[3]];
  EXPECT_EQ(tuple.kind, Kind::kSequence);
  EXPECT_EQ(pickle.objects[tuple.items.at(0)].number, 2);
}

TEST(UnpicklerTest, OnlyNamesOfATableOfTensors) {
  EXPECT_EQ(Result("ccollections\nOrderedDict\n)R.").kind, Kind::kDict);
  EXPECT_THAT(ErrorOf("cos\nsystem\n" + Short("true") + "\x85R."), HasSubstr("\"os.system\""));
  EXPECT_THAT(ErrorOf("c" + std::string(5000, 'x') + "\ny\n."), testing::Not(HasSubstr("xy")));
}

TEST(UnpicklerTest, StorageAndTensor) {
  const std::string storage =
      "(" + Short("storage") + "ctorch\nHalfStorage\n" + Short("0") + Short("cpu") + "K\x06tQ";
  const std::string tensor =
      "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + "K\x01(K\x02K\x02t(K\x02K\x01tt" + "R.";
  const Pickle pickle = Read(tensor);
  const PickleObject& found = pickle.objects[pickle.result];
  ASSERT_EQ(found.kind, Kind::kTensor);
  EXPECT_THAT(found.shape, ElementsAre(2, 2));
  EXPECT_THAT(found.strides, ElementsAre(2, 1));
  EXPECT_EQ(found.number, 1);
  EXPECT_EQ(pickle.objects[found.storage].dtype, DType::kFloat16);
  EXPECT_EQ(pickle.objects[found.storage].elements, 6);
}

TEST(UnpicklerTest, FaultsNameTheirPlace) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("without STOP"));
  EXPECT_THAT(ErrorOf("."), HasSubstr("the stack is empty"));
  EXPECT_THAT(ErrorOf("NNi."), AllOf(HasSubstr("byte 2"), HasSubstr("opcode 69")));
  EXPECT_THAT(ErrorOf("h\x07."), HasSubstr("the memo has no entry 7"));
  EXPECT_THAT(ErrorOf("t."), HasSubstr("no MARK"));
  EXPECT_THAT(ErrorOf("NNs."), HasSubstr("container"));
  EXPECT_THAT(ErrorOf("Na."), HasSubstr("container"));
  EXPECT_THAT(ErrorOf("X\xff\xff\xff\xff."), HasSubstr("truncated"));
  EXPECT_THAT(ErrorOf("(N0."), HasSubstr("the stack is empty"));  // beyond a MARK
}

// A few bytes that ask for much: each repeats what stands in the memo.
TEST(UnpicklerTest, WhatIsRepeatedIsBounded) {
  std::string shape = "(";
  for (int i = 0; i < 1000; ++i) shape += "K\x01";
  shape += "tq\x01";
  EXPECT_THAT(
      ErrorOf("ctorch._utils\n_rebuild_tensor_v2\n((" + Short("storage") + "ctorch\nHalfStorage\n" +
              Short("0") + Short("cpu") + "K\x06tQK\x01" + shape + "h\x01tR."),
      HasSubstr("pickle"));
  const std::string key(1000, 'k');
  EXPECT_THAT(ErrorOf("(" + Short("storage") + "ctorch\nHalfStorage\n" +
                      std::string("X\xe8\x03\0\0", 5) + key + Short("cpu") + "K\x06tQ."),
              AllOf(HasSubstr("at most 256 bytes"), HasSubstr("1000")));
  EXPECT_THAT(ErrorOf(std::string(kMaxPickleObjects + 1, 'N') + "."), HasSubstr("at most"));
}

// Kilobytes of resident memory, at their highest so far.
long HighestResident() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(UnpicklerTest, MemoryIsBoundedForEachByte) {
  for (const char* opcode : {"N", "(", "]", ")", "NK\x01", "\x94"}) {
    std::string bytes = "N";
    while (bytes.size() < 400'000) bytes += opcode;
    const long before = HighestResident();
    (void)Unpickle(bytes);
    EXPECT_LE(HighestResident() - before, 512 * 400) << opcode;
  }
}

}  // namespace
}  // namespace llava::model
