#include "cli/prompt_sources.hpp"

#include <iterator>
#include <optional>
#include <set>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/text.hpp"
#include "runtime/needle.hpp"
#include "runtime/prompt_template.hpp"

namespace evictlab::cli {
namespace {

std::optional<runtime::PromptTemplate> given_template(const Options& options) {
  if (!options.has("template")) return std::nullopt;
  const std::filesystem::path path = options.path("template");
  std::string text = core::read_text(path);
  // Editors end a file with a line break, which no template means.
  if (text.ends_with('\n')) text.pop_back();
  return runtime::PromptTemplate(std::move(text), path.string());
}

runtime::NeedleGrid needle_grid(const Options& options) {
  runtime::NeedleGrid grid;
  grid.seed = static_cast<std::uint64_t>(options.integer("seed", 0));
  for (const std::string& item : core::split(options.text("needle-lengths"), ',')) {
    const auto length = core::parse_integer(core::trim(item));
    if (!length || *length < 1 || *length > 1 << 30) {
      throw core::InputError("--needle-lengths takes numbers of positions such as 512,1024, got '{}'", item);
    }
    grid.lengths.push_back(*length);
  }
  for (const std::string& item : core::split(options.text("needle-depths"), ',')) {
    const auto depth = core::parse_number(core::trim(item));
    if (!depth || !(*depth >= 0 && *depth <= 1)) {
      throw core::InputError("--needle-depths takes numbers from 0 to 1 such as 0,0.5,1, got '{}'", item);
    }
    grid.depths.push_back(*depth);
  }
  return grid;
}

}  // namespace

const runtime::TextTokenizer& ModelTokenizer::get() const {
  if (!tokenizer_) tokenizer_ = runtime::load_tokenizer(directory_);
  return *tokenizer_;
}

void declare_prompt_sources(Options& options) {
  options.values(
      "prompts", "FILE.jsonl",
      "prompts, one JSON object a line: id, task, prompt or tokens, answer, spans; or LongBench's or RULER's "
      "lines as they are");
  options.values("text", "FILE", "a text file as one prompt");
  options.value("template", "FILE", "",
                "text with {context} and {input} or {question}, instead of a benchmark's own prompts");
  options.values("needle", "FILE", "a text to hide a sentence with a number in and to ask for it");
  options.value("needle-lengths", "LIST", "512,1024,2048", "positions of the prompts with a needle");
  options.value("needle-depths", "LIST", "0,0.25,0.5,0.75,1", "where the needle is: 0 = first, 1 = last");
  options.value("limit", "N", "0", "only the first N prompts of each prompts file; 0 = all");
}

std::vector<runtime::Prompt> gather_prompts(const Options& options, const ModelTokenizer& tokenizer) {
  if (!options.has("prompts") && !options.has("text") && !options.has("needle")) {
    throw core::InputError("give prompts with --prompts FILE.jsonl, --text FILE or --needle FILE");
  }
  const auto form = given_template(options);
  const runtime::PromptTemplate* const words = form ? &*form : nullptr;
  const auto limit = static_cast<std::size_t>(options.integer("limit", 0));
  std::vector<runtime::Prompt> prompts;
  for (const std::string& file : options.list("prompts")) {
    std::vector<runtime::Prompt> read = runtime::read_prompts(file, words);
    if (limit > 0 && read.size() > limit) read.resize(limit);
    std::move(read.begin(), read.end(), std::back_inserter(prompts));
  }
  for (const std::string& file : options.list("text")) prompts.push_back(runtime::read_text_prompt(file));
  for (const std::string& file : options.list("needle")) {
    const std::string name = std::filesystem::path(file).filename().string();
    std::vector<runtime::Prompt> hidden =
        runtime::needle_prompts(core::read_text(file), name, needle_grid(options), tokenizer.get(), words);
    std::move(hidden.begin(), hidden.end(), std::back_inserter(prompts));
  }
  std::set<std::string> ids;
  for (const runtime::Prompt& prompt : prompts) {
    if (!ids.insert(prompt.id).second) {
      throw core::InputError("the prompt id '{}' occurs twice; ids must differ", prompt.id);
    }
  }
  return prompts;
}

}  // namespace evictlab::cli
