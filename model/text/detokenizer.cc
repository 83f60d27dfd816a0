#include "model/text/detokenizer.h"

#include <utility>

#include "base/utf8_stream.h"

namespace llava::model {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

std::string Detokenizer::Push(int id) {
  const Piece& piece = tokenizer_->PieceOf(id);
  switch (piece.kind) {
    case Piece::Kind::kNothing:
      return "";
    case Piece::Kind::kByte:
      bytes_ += piece.text;
      return "";
    case Piece::Kind::kText:
      break;
  }
  return DropFirstSpace(FlushBytes() + piece.text);
}

std::string Detokenizer::Finish() {
  std::string text = DropFirstSpace(FlushBytes());
  at_start_ = true;
  return text;
}

// tokenizers' ByteFallback decoder: a run of bytes is taken as a whole.
std::string Detokenizer::FlushBytes() {
  std::string run = std::exchange(bytes_, "");
  if (IsValidUtf8(run)) return run;
  std::string text;
  for (std::size_t i = 0; i < run.size(); ++i) text += kReplacement;
  return text;
}

std::string Detokenizer::DropFirstSpace(std::string text) {
  if (!at_start_ || text.empty()) return text;
  at_start_ = false;
  if (tokenizer_->settings().strip_first_space && text[0] == ' ') text.erase(0, 1);
  return text;
}

}  // namespace llava::model
