# The program in docs/api.md, as a source file: what a reader pastes is what is compiled. Only the
# address is another, because tests have a server on a free port.
file(READ ${DOCUMENT} text)
string(FIND "${text}" "```cpp\n" begin)
math(EXPR begin "${begin} + 7")
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "```\n" end)
string(SUBSTRING "${text}" 0 ${end} text)
string(REPLACE "\"127.0.0.1:50051\"" "std::getenv(\"LLAVAD\")" text "${text}")
file(WRITE ${PROGRAM} "#include <cstdlib>\n${text}")
