#include "model/text/detokenizer.h"

namespace llava::model {

std::string Detokenizer::Push(int id) {
  const Piece& piece = tokenizer_->PieceOf(id);
  switch (piece.kind) {
    case Piece::Kind::kNothing:
      return "";
    case Piece::Kind::kByte:
      return DropFirstSpace(bytes_.Push(piece.text));
    case Piece::Kind::kText:
      break;
  }
  return DropFirstSpace(bytes_.Finish() + piece.text);
}

std::string Detokenizer::Finish() {
  std::string text = DropFirstSpace(bytes_.Finish());
  at_start_ = !goes_on_;
  return text;
}

std::string Detokenizer::DropFirstSpace(std::string text) {
  if (!at_start_ || text.empty()) return text;
  at_start_ = false;
  if (tokenizer_->settings().strip_first_space && text[0] == ' ') text.erase(0, 1);
  return text;
}

}  // namespace llava::model
