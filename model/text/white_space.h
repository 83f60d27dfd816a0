// White space as Python's str.strip() sees it, which decides about token ids in the reference.
#ifndef LLAVA_MODEL_TEXT_WHITE_SPACE_H_
#define LLAVA_MODEL_TEXT_WHITE_SPACE_H_

#include <string_view>

namespace llava::model {

// UTF-8 text without white space at its ends; a view into `text`.
std::string_view StripWhiteSpace(std::string_view text);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_WHITE_SPACE_H_
