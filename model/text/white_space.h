// White space as Python's str.strip() sees it, which decides about token ids in the reference.
#ifndef LLAVA_MODEL_TEXT_WHITE_SPACE_H_
#define LLAVA_MODEL_TEXT_WHITE_SPACE_H_

#include <string_view>

namespace llava::model {

// UTF-8 text without white space at its ends; a view into `text`.
std::string_view StripWhiteSpace(std::string_view text);

// The same at one end, for white space as Unicode's property White_Space (and \s of regular
// expressions) has it: without the control characters U+001C to U+001F.
std::string_view WithoutSpaceAtStart(std::string_view text);
std::string_view WithoutSpaceAtEnd(std::string_view text);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_WHITE_SPACE_H_
