// What a program can say about its own command line: the same flags and texts as --help, as a
// manual page and as completion for shells.
#ifndef LLAVA_BASE_COMMAND_LINE_COMMAND_LINE_H_
#define LLAVA_BASE_COMMAND_LINE_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <string>

namespace llava {

// Adds --man and --completion SHELL, which print and end the program as --help does. Everything
// else is added before or after; `app` must live until it has parsed.
void DescribeItself(CLI::App* app);

// The manual page in man(7) macros: `PROGRAM --man | man -l -`.
std::string ManPage(const CLI::App& app);

// A script for `shell`: bash, zsh or fish. Empty for any other.
std::string CompletionScript(const CLI::App& app, const std::string& shell);

}  // namespace llava

#endif  // LLAVA_BASE_COMMAND_LINE_COMMAND_LINE_H_
