#include "model/text/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <cstdint>
#include <exception>
#include <utility>

namespace llava::model {
namespace {

// Appended to a serialized ModelProto, this overrides its normalizer_spec (field 3; protobuf merges
// repeated occurrences): precompiled_charsmap (2) empty, add_dummy_prefix (3) and
// remove_extra_whitespaces (4) false.
constexpr std::string_view kPlainNormalizer("\x1A\x06\x12\x00\x18\x00\x20\x00", 8);

// Reads a protobuf message field by field, for the two things that the library does not tell.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  // False at the end, or where the message is malformed.
  bool Next() {
    std::uint64_t key = 0;
    if (rest_.empty() || !Varint(&key)) return false;
    number_ = key >> 3;
    bytes_ = {};
    switch (key & 7) {
      case 0:
        return Varint(&varint_);
      case 1:
        return Take(8);
      case 2:
        return Varint(&varint_) && Take(varint_);
      case 5:
        return Take(4);
      default:
        return false;
    }
  }
  std::uint64_t number() const { return number_; }
  std::uint64_t varint() const { return varint_; }
  std::string_view bytes() const { return bytes_; }

 private:
  bool Varint(std::uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      *value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Take(std::uint64_t size) {
    if (size > rest_.size()) return false;
    bytes_ = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  std::uint64_t number_ = 0;
  std::uint64_t varint_ = 0;
  std::string_view bytes_;
};

// The last value of an integer field of `message`.
std::uint64_t IntField(std::string_view message, std::uint64_t number, std::uint64_t otherwise) {
  for (Fields fields(message); fields.Next();) {
    if (fields.number() == number) otherwise = fields.varint();
  }
  return otherwise;
}

}  // namespace

struct SentencepieceModel::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::vector<bool> user_defined;  // by id
  bool bpe = false;
  bool escapes_spaces = true;

  // sentencepiece_model.proto: ModelProto.pieces (1) with their type (3: USER_DEFINED is 4),
  // ModelProto.trainer_spec (2) with its model_type (3: BPE is 2), ModelProto.normalizer_spec (3)
  // with its escape_whitespaces (5).
  void ReadDetails(std::string_view model) {
    for (Fields fields(model); fields.Next();) {
      if (fields.number() == 1) user_defined.push_back(IntField(fields.bytes(), 3, 1) == 4);
      if (fields.number() == 2) bpe = IntField(fields.bytes(), 3, bpe ? 2 : 1) == 2;
      if (fields.number() == 3) {
        escapes_spaces = IntField(fields.bytes(), 5, escapes_spaces ? 1 : 0) != 0;
      }
    }
    user_defined.resize(static_cast<std::size_t>(processor.GetPieceSize()));
  }
};

SentencepieceModel::SentencepieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencepieceModel::~SentencepieceModel() = default;

std::unique_ptr<SentencepieceModel> SentencepieceModel::FromBytes(std::string_view bytes,
                                                                  std::string* error) {
  auto impl = std::make_unique<Impl>();
  const std::string plain = std::string(bytes) + std::string(kPlainNormalizer);
  try {
    const auto status = impl->processor.LoadFromSerializedProto(plain);
    if (!status.ok()) {
      *error = status.error_message();
      return nullptr;
    }
  } catch (const std::exception& refused) {  // a piece that begins with a zero byte, for example
    *error = refused.what();
    return nullptr;
  }
  impl->ReadDetails(bytes);
  return std::unique_ptr<SentencepieceModel>(new SentencepieceModel(std::move(impl)));
}

void SentencepieceModel::Encode(std::string_view text, std::vector<int>& ids) const {
  std::vector<int> encoded;
  // Encode fails only on a processor without a model.
  if (!impl_->processor.Encode(text, &encoded).ok()) return;
  ids.insert(ids.end(), encoded.begin(), encoded.end());
}

int SentencepieceModel::size() const { return impl_->processor.GetPieceSize(); }

const std::string& SentencepieceModel::piece(int id) const {
  return impl_->processor.IdToPiece(id);
}

SentencepieceModel::Kind SentencepieceModel::kind(int id) const {
  if (impl_->processor.IsUnknown(id)) return Kind::kUnknown;
  if (impl_->processor.IsControl(id)) return Kind::kControl;
  if (impl_->processor.IsByte(id)) return Kind::kByte;
  return impl_->user_defined[static_cast<std::size_t>(id)] ? Kind::kUserDefined : Kind::kText;
}

float SentencepieceModel::score(int id) const { return impl_->processor.GetScore(id); }
bool SentencepieceModel::is_bpe() const { return impl_->bpe; }
bool SentencepieceModel::is_unused(int id) const { return impl_->processor.IsUnused(id); }
bool SentencepieceModel::escapes_spaces() const { return impl_->escapes_spaces; }

int SentencepieceModel::IdOf(std::string_view piece) const {
  return impl_->processor.PieceToId(piece);
}

// The library refuses a model with some of them only.
bool SentencepieceModel::spells_bytes() const {
  for (int id = 0; id < size(); ++id) {
    if (impl_->processor.IsByte(id)) return true;
  }
  return false;
}

int SentencepieceModel::unk_id() const { return impl_->processor.unk_id(); }
int SentencepieceModel::bos_id() const { return impl_->processor.bos_id(); }
int SentencepieceModel::eos_id() const { return impl_->processor.eos_id(); }

}  // namespace llava::model
