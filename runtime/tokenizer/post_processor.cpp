#include "runtime/tokenizer/post_processor.hpp"

#include <string>

#include "runtime/tokenizer/vocabulary.hpp"

namespace evictlab::runtime {
namespace {

Template read_template(const JsonNode& node) {
  const JsonNode special_tokens = node.at("special_tokens");
  Template result;
  bool text_seen = false;
  for (const JsonNode& item : node.at("single").items()) {
    if (const auto sequence = item.find("Sequence")) {
      if (sequence->at("id").string() != "A" || text_seen) sequence->fail("expected the sequence 'A', once");
      text_seen = true;
      continue;
    }
    const JsonNode entry = special_tokens.at(item.at("SpecialToken").at("id").string());
    for (const JsonNode& id : entry.at("ids").items()) {
      auto& side = text_seen ? result.after : result.before;
      side.push_back(static_cast<std::int32_t>(id.integer(0, kMaxTokenId)));
    }
  }
  if (!text_seen) node.fail("the template 'single' has no sequence 'A'");
  return result;
}

}  // namespace

Template make_template(const JsonNode& node) {
  const std::string& type = node.type();
  if (type == "TemplateProcessing") return read_template(node);
  if (type == "ByteLevel") return {};
  if (type != "Sequence") node.refuse_type("TemplateProcessing, ByteLevel, Sequence");
  Template result;
  for (const JsonNode& item : node.at("processors").items()) {
    const Template outer = make_template(item);  // encloses what the ones before it added
    result.before.insert(result.before.begin(), outer.before.begin(), outer.before.end());
    result.after.insert(result.after.end(), outer.after.begin(), outer.after.end());
  }
  return result;
}

}  // namespace evictlab::runtime
