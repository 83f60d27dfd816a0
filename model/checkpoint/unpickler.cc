#include "model/checkpoint/unpickler.h"

#include <bit>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/byte_reader.h"
#include "base/status_macros.h"

namespace llava::model {
namespace {

using Kind = PickleObject::Kind;

constexpr std::pair<const char*, DType> kStorageTypes[] = {
    {"torch.DoubleStorage", DType::kFloat64}, {"torch.FloatStorage", DType::kFloat32},
    {"torch.HalfStorage", DType::kFloat16},   {"torch.BFloat16Storage", DType::kBfloat16},
    {"torch.LongStorage", DType::kInt64},     {"torch.IntStorage", DType::kInt32},
    {"torch.ShortStorage", DType::kInt16},    {"torch.CharStorage", DType::kInt8},
    {"torch.ByteStorage", DType::kUint8},     {"torch.BoolStorage", DType::kBool},
};
constexpr std::size_t kMaxNameShown = 200;
constexpr char kOrderedDict[] = "collections.OrderedDict";
constexpr char kRebuildTensor[] = "torch._utils._rebuild_tensor_v2";
constexpr char kRebuildParameter[] = "torch._utils._rebuild_parameter";

std::optional<DType> StorageType(std::string_view global) {
  for (const auto& [name, dtype] : kStorageTypes) {
    if (global == name) return dtype;
  }
  return std::nullopt;
}

bool IsKnown(std::string_view global) {
  return global == kOrderedDict || global == kRebuildTensor || global == kRebuildParameter ||
         StorageType(global).has_value();
}

class Machine {
 public:
  explicit Machine(std::string_view bytes) : reader_(bytes) {}

  absl::StatusOr<Pickle> Run() {
    for (;;) {
      at_ = reader_.position();
      opcode_ = reader_.U8();
      if (!reader_.ok()) return Error("the pickle ends without STOP");
      if (opcode_ == '.') break;
      RETURN_IF_ERROR(Step());
      if (!reader_.ok()) return Error("the pickle is truncated");
      if (reader_.position() > kMaxPickleBytes || pickle_.objects.size() > kMaxPickleObjects) {
        return Error(absl::StrCat("expected at most ", kMaxPickleObjects, " objects in ",
                                  kMaxPickleBytes, " bytes, found more"));
      }
    }
    ASSIGN_OR_RETURN(pickle_.result, Pop());
    pickle_.size = reader_.position();
    return std::move(pickle_);
  }

 private:
  absl::Status Error(std::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("pickle, byte ", at_, ", opcode ",
                                                   absl::Hex(opcode_, absl::kZeroPad2), ": ",
                                                   std::string(what)));
  }

  absl::Status Step() {
    switch (opcode_) {
      case 0x80:  // PROTO
        return Skip(1);
      case 0x95:  // FRAME
        return Skip(8);
      case '(':  // MARK
        marks_.push_back(stack_.size());
        return absl::OkStatus();
      case 'q':  // BINPUT
        return Put(reader_.U8());
      case 'r':  // LONG_BINPUT
        return Put(reader_.U32());
      case 0x94:  // MEMOIZE
        return Put(memo_.size());
      case 'h':  // BINGET
        return Get(reader_.U8());
      case 'j':  // LONG_BINGET
        return Get(reader_.U32());
      case '0':  // POP
        return Pop().status();
      default:
        return StepLiteral();
    }
  }

  absl::Status StepLiteral() {
    switch (opcode_) {
      case 'N':
        return Push({.kind = Kind::kNone});
      case 0x88:  // NEWTRUE
      case 0x89:  // NEWFALSE
        return Push({.kind = Kind::kBool, .number = opcode_ == 0x88 ? 1 : 0});
      case 'K':  // BININT1
        return PushInt(reader_.U8());
      case 'M':  // BININT2
        return PushInt(reader_.U16());
      case 'J':  // BININT
        return PushInt(static_cast<std::int32_t>(reader_.U32()));
      case 0x8a:  // LONG1
        return PushLong(reader_.Take(reader_.U8()));
      case 'G':  // BINFLOAT: no number that matters here is a fraction
        reader_.Skip(8);
        return Push({.kind = Kind::kFloat});
      case 'X':  // BINUNICODE
        return PushText(Kind::kString, reader_.U32());
      case 0x8c:  // SHORT_BINUNICODE
        return PushText(Kind::kString, reader_.U8());
      case 'U':  // SHORT_BINSTRING, Python 2's str
        return PushText(Kind::kString, reader_.U8());
      case 'C':  // SHORT_BINBYTES
        return PushText(Kind::kBytes, reader_.U8());
      default:
        return StepContainer();
    }
  }

  absl::Status StepContainer() {
    switch (opcode_) {
      case '}':
        return Push({.kind = Kind::kDict});
      case ']':
      case ')':
        return Push({.kind = Kind::kSequence});
      case 't':
        return PushMarked();
      case 0x85:  // TUPLE1
      case 0x86:
      case 0x87:
        return PushTuple(opcode_ - 0x84u);
      case 's':  // SETITEM
        return Extend(Kind::kDict, stack_.size() >= 2 ? stack_.size() - 2 : 0);
      case 'a':  // APPEND
        return Extend(Kind::kSequence, stack_.empty() ? 0 : stack_.size() - 1);
      case 'u':  // SETITEMS
        return ExtendMarked(Kind::kDict);
      case 'e':  // APPENDS
        return ExtendMarked(Kind::kSequence);
      default:
        return StepObject();
    }
  }

  absl::Status StepObject() {
    switch (opcode_) {
      case 'c':  // GLOBAL
        return Global();
      case 0x93:  // STACK_GLOBAL
        return StackGlobal();
      case 'Q':  // BINPERSID
        return PersistentId();
      case 'R':  // REDUCE
        return Reduce();
      case 'b':  // BUILD: attributes of a dictionary (_metadata of a state_dict) say nothing here
        return Pop().status();
      default:
        return Error("not an opcode of a dictionary of tensors");
    }
  }

  absl::Status Skip(std::uint64_t bytes) {
    reader_.Skip(bytes);
    return absl::OkStatus();
  }

  absl::Status Push(PickleObject object) {
    stack_.push_back(pickle_.objects.size());
    pickle_.objects.push_back(std::move(object));
    return absl::OkStatus();
  }

  absl::Status PushInt(std::int64_t value) { return Push({.kind = Kind::kInt, .number = value}); }

  // Two's complement, little-endian. Longer than 8 bytes: only the magic number of old files is.
  absl::Status PushLong(std::string_view raw) {
    if (raw.size() > 8) return PushRaw(Kind::kBytes, raw);
    std::uint64_t value = !raw.empty() && (raw.back() & 0x80) != 0 ? ~std::uint64_t{0} : 0;
    for (std::size_t i = raw.size(); i-- > 0;) {
      value = (value << 8) | static_cast<std::uint8_t>(raw[i]);
    }
    return PushInt(std::bit_cast<std::int64_t>(value));
  }

  absl::Status PushText(Kind kind, std::uint64_t size) { return PushRaw(kind, reader_.Take(size)); }

  absl::Status PushRaw(Kind kind, std::string_view raw) {
    return Push({.kind = kind, .text = std::string(raw)});
  }

  // What a MARK fences off cannot be reached.
  std::size_t Fence() const { return marks_.empty() ? 0 : marks_.back(); }

  absl::StatusOr<std::size_t> Pop() {
    if (stack_.size() <= Fence()) return Error("the stack is empty");
    const std::size_t top = stack_.back();
    stack_.pop_back();
    return top;
  }

  absl::Status Put(std::uint64_t slot) {
    if (stack_.empty()) return Error("nothing to put into the memo");
    memo_[slot] = stack_.back();
    return absl::OkStatus();
  }

  absl::Status Get(std::uint64_t slot) {
    const auto at = memo_.find(slot);
    if (at == memo_.end()) return Error(absl::StrCat("the memo has no entry ", slot));
    stack_.push_back(at->second);
    return absl::OkStatus();
  }

  absl::StatusOr<std::size_t> PopMark() {
    if (marks_.empty()) return Error("no MARK");
    const std::size_t mark = marks_.back();
    marks_.pop_back();
    return mark;
  }

  absl::Status PushMarked() {
    ASSIGN_OR_RETURN(const std::size_t mark, PopMark());
    return PushFrom(mark);
  }

  absl::Status PushTuple(std::size_t count) {
    if (stack_.size() < Fence() + count) return Error("the stack is empty");
    return PushFrom(stack_.size() - count);
  }

  absl::Status PushFrom(std::size_t first) {
    PickleObject sequence{.kind = Kind::kSequence};
    sequence.items.assign(stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(first);
    return Push(std::move(sequence));
  }

  absl::Status ExtendMarked(Kind kind) {
    ASSIGN_OR_RETURN(const std::size_t mark, PopMark());
    return Extend(kind, mark);
  }

  // The values from `first` on go into the container below them.
  absl::Status Extend(Kind kind, std::size_t first) {
    if (first <= Fence() || first > stack_.size()) return Error("no container on the stack");
    PickleObject& container = pickle_.objects[stack_[first - 1]];
    if (container.kind != kind || (kind == Kind::kDict && (stack_.size() - first) % 2 != 0)) {
      return Error("items for something that is not their container");
    }
    container.items.insert(container.items.end(),
                           stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(first);
    return absl::OkStatus();
  }

  absl::Status Global() {
    const std::string_view module = reader_.TakeLine();
    const std::string_view name = reader_.TakeLine();
    return PushNamed(absl::StrCat(std::string(module), ".", std::string(name)));
  }

  absl::Status StackGlobal() {
    ASSIGN_OR_RETURN(const std::size_t name, Pop());
    ASSIGN_OR_RETURN(const std::size_t module, Pop());
    return PushNamed(absl::StrCat(pickle_.objects[module].text, ".", pickle_.objects[name].text));
  }

  absl::Status PushNamed(std::string name) {
    if (reader_.ok() && !IsKnown(name)) {
      return Error(absl::StrCat("wants the Python object \"", name.substr(0, kMaxNameShown),
                                "\", which is not part of a dictionary of tensors"));
    }
    return Push({.kind = Kind::kGlobal, .text = std::move(name)});
  }

  // The element `index` of a sequence, when it is of `kind`.
  const PickleObject* Item(const PickleObject& sequence, std::size_t index, Kind kind) const {
    if (sequence.kind != Kind::kSequence || index >= sequence.items.size()) return nullptr;
    const PickleObject& item = pickle_.objects[sequence.items[index]];
    return item.kind == kind ? &item : nullptr;
  }

  // ("storage", type, key, device, number of elements, and in old files a view)
  absl::Status PersistentId() {
    ASSIGN_OR_RETURN(const std::size_t id, Pop());
    const PickleObject& tuple = pickle_.objects[id];
    const PickleObject* tag = Item(tuple, 0, Kind::kString);
    const PickleObject* type = Item(tuple, 1, Kind::kGlobal);
    const PickleObject* key = Item(tuple, 2, Kind::kString);
    const PickleObject* elements = Item(tuple, 4, Kind::kInt);
    if (tag == nullptr || tag->text != "storage" || type == nullptr || key == nullptr ||
        elements == nullptr || elements->number < 0) {
      return Error("not the description of a storage");
    }
    if (tuple.items.size() > 5 && Item(tuple, 5, Kind::kNone) == nullptr) {
      return Error(absl::StrCat("storage \"", key->text, "\" is a view of another: not supported"));
    }
    if (key->text.size() > kMaxStorageKeyBytes) {
      return Error(absl::StrCat("expected a storage's key of at most ", kMaxStorageKeyBytes,
                                " bytes, found ", key->text.size()));
    }
    const auto dtype = StorageType(type->text);
    if (!dtype.has_value()) return Error("not the type of a storage: " + type->text);
    return Push(
        {.kind = Kind::kStorage, .text = key->text, .dtype = *dtype, .elements = elements->number});
  }

  absl::Status Reduce() {
    ASSIGN_OR_RETURN(const std::size_t arguments, Pop());
    ASSIGN_OR_RETURN(const std::size_t callable, Pop());
    const PickleObject& function = pickle_.objects[callable];
    const PickleObject& tuple = pickle_.objects[arguments];
    if (function.kind != Kind::kGlobal || tuple.kind != Kind::kSequence) {
      return Error("a call of something that is not a name");
    }
    if (function.text == kOrderedDict && tuple.items.empty()) return Push({.kind = Kind::kDict});
    if (function.text == kRebuildTensor) return RebuildTensor(tuple);
    if (function.text == kRebuildParameter && Item(tuple, 0, Kind::kTensor) != nullptr) {
      stack_.push_back(tuple.items[0]);
      return absl::OkStatus();
    }
    return Error(absl::StrCat("unexpected arguments of ", function.text));
  }

  bool Numbers(const PickleObject* sequence, std::vector<std::int64_t>& numbers) const {
    if (sequence == nullptr || sequence->items.size() > kMaxPickleDimensions) return false;
    for (std::size_t i = 0; i < sequence->items.size(); ++i) {
      const PickleObject* number = Item(*sequence, i, Kind::kInt);
      if (number == nullptr) return false;
      numbers.push_back(number->number);
    }
    return true;
  }

  // (storage, first element, shape, strides, ...)
  absl::Status RebuildTensor(const PickleObject& tuple) {
    const PickleObject* offset = Item(tuple, 1, Kind::kInt);
    PickleObject tensor{.kind = Kind::kTensor};
    if (Item(tuple, 0, Kind::kStorage) == nullptr || offset == nullptr ||
        !Numbers(Item(tuple, 2, Kind::kSequence), tensor.shape) ||
        !Numbers(Item(tuple, 3, Kind::kSequence), tensor.strides) ||
        tensor.shape.size() != tensor.strides.size()) {
      return Error("unexpected arguments of torch._utils._rebuild_tensor_v2");
    }
    tensor.storage = tuple.items[0];
    tensor.number = offset->number;
    return Push(std::move(tensor));
  }

  ByteReader reader_;
  std::size_t at_ = 0;
  std::uint8_t opcode_ = 0;
  Pickle pickle_;
  std::vector<std::size_t> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  std::map<std::uint64_t, std::size_t> memo_;
};

}  // namespace

absl::StatusOr<Pickle> Unpickle(std::string_view bytes) { return Machine(bytes).Run(); }

}  // namespace llava::model
