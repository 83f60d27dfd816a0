# Writes OUTPUT, a C++ source that defines llava::api::WebFiles() with the FILES of the folder WEB.
# Usage: cmake -D WEB=... -D FILES=a;b -D OUTPUT=... -P embed.cmake
set(code "#include \"server/api/web/web_files.h\"\n\nnamespace llava::api {\nnamespace {\n")
set(table "")
set(number 0)
foreach(name ${FILES})
  file(READ ${WEB}/${name} hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR size "${digits} / 2")
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND code "const unsigned char kFile${number}[] = {${bytes}0};\n")
  string(APPEND table
    "    {\"${name}\", {reinterpret_cast<const char*>(kFile${number}), ${size}}},\n")
  math(EXPR number "${number} + 1")
endforeach()
string(APPEND code "const WebFile kFiles[] = {\n${table}};\n}  // namespace\n\n"
  "std::span<const WebFile> WebFiles() { return kFiles; }\n\n}  // namespace llava::api\n")
file(WRITE ${OUTPUT} "${code}")
