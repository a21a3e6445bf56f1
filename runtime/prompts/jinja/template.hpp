#pragma once

#include <string>
#include <string_view>

#include "runtime/prompts/jinja/syntax.hpp"

namespace evictlab::runtime::jinja {

// Renders chat templates as transformers does (Jinja2 in its sandbox with trim_blocks, lstrip_blocks and the loop
// controls). No library for C++ does it that Debian has, so this is the part of Jinja that chat templates use: if, for,
// set, macros, namespaces, expressions, and the filters, tests and methods of builtins.cpp. What is outside of it is
// refused by name, never rendered differently.

/// A template, parsed. Several threads may render one.
class Template {
 public:
  /// Throws JinjaError naming the line.
  explicit Template(std::string_view source) : body_(parse(source)) {}

  /// What the template writes with these variables. Throws JinjaError, naming the line, for what the subset lacks, what
  /// Python would refuse, values of more than 32 MiB, more than 64 MiB of text and more than five million steps of
  /// work.
  std::string render(const Dict& variables) const;

 private:
  Body body_;
};

}  // namespace evictlab::runtime::jinja
