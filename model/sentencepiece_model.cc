#include "model/sentencepiece_model.h"

#include <utility>

#include <sentencepiece_processor.h>

namespace llava::model {
namespace {

// Appended to a serialized ModelProto, this overrides its normalizer_spec (field 3; protobuf merges
// repeated occurrences): precompiled_charsmap (2) empty, add_dummy_prefix (3) and
// remove_extra_whitespaces (4) false.
constexpr std::string_view kPlainNormalizer("\x1A\x06\x12\x00\x18\x00\x20\x00", 8);

}  // namespace

struct SentencepieceModel::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

SentencepieceModel::SentencepieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencepieceModel::~SentencepieceModel() = default;

std::unique_ptr<SentencepieceModel> SentencepieceModel::FromBytes(std::string_view bytes,
                                                                  std::string* error) {
  auto impl = std::make_unique<Impl>();
  const std::string plain = std::string(bytes) + std::string(kPlainNormalizer);
  const auto status = impl->processor.LoadFromSerializedProto(plain);
  if (!status.ok()) {
    *error = status.error_message();
    return nullptr;
  }
  return std::unique_ptr<SentencepieceModel>(new SentencepieceModel(std::move(impl)));
}

std::vector<int> SentencepieceModel::Encode(std::string_view text) const {
  std::vector<int> ids;
  // Encode fails only on a processor without a model.
  if (!impl_->processor.Encode(text, &ids).ok()) ids.clear();
  return ids;
}

int SentencepieceModel::size() const { return impl_->processor.GetPieceSize(); }

const std::string& SentencepieceModel::piece(int id) const {
  return impl_->processor.IdToPiece(id);
}

SentencepieceModel::Kind SentencepieceModel::kind(int id) const {
  if (impl_->processor.IsUnknown(id)) return Kind::kUnknown;
  if (impl_->processor.IsControl(id)) return Kind::kControl;
  if (impl_->processor.IsByte(id)) return Kind::kByte;
  return Kind::kText;
}

int SentencepieceModel::IdOf(std::string_view piece) const {
  return impl_->processor.PieceToId(piece);
}

int SentencepieceModel::unk_id() const { return impl_->processor.unk_id(); }
int SentencepieceModel::bos_id() const { return impl_->processor.bos_id(); }
int SentencepieceModel::eos_id() const { return impl_->processor.eos_id(); }

}  // namespace llava::model
