#include "trace/io/digest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>
#include <string_view>
#include <vector>

#include "core/hash.hpp"
#include "trace/io/hdf5/contents.hpp"

namespace evictlab::trace {
namespace {

/// What is hashed: texts that hold no NUL, each with one behind it.
void add(std::string& text, std::string_view part) {
  text += part;
  text += '\0';
}

std::string_view kind_name(hdf5::AttributeContents::Kind kind) {
  using Kind = hdf5::AttributeContents::Kind;
  switch (kind) {
    case Kind::kText:
      return "text";
    case Kind::kIntegers:
      return "integers";
    case Kind::kNumbers:
      return "numbers";
    case Kind::kOther:
      break;
  }
  return "other";
}

// The length before a value, which may hold any byte, keeps two lists of attributes from being the same text.
std::string attributes_hash(const std::vector<hdf5::AttributeContents>& attributes) {
  std::string text;
  for (const hdf5::AttributeContents& attribute : attributes) {
    if (attribute.name == kDigest) continue;
    add(text, attribute.name);
    add(text, kind_name(attribute.kind));
    add(text, std::to_string(attribute.value.size()));
    text += attribute.value;
  }
  return core::content_hash(text);
}

// A table's columns follow from the size of its rows.
std::string type_text(const hdf5::Dataset& dataset) {
  return fmt::format("{}({})", hdf5::type_name(dataset.type), dataset.element_bytes);
}

std::vector<std::string> groups_in(const hdf5::File& file, const std::string& group) {
  std::vector<std::string> groups;
  for (const std::string& name : file.children(group)) {
    const std::string object = (group == "/" ? "" : group) + "/" + name;
    if (!file.is_dataset(object)) groups.push_back(object);
  }
  return groups;
}

}  // namespace

std::string group_digest(const hdf5::File& file, const std::string& group) {
  const hdf5::GroupContents contents = hdf5::group_contents(file, group, kDigest);
  std::string text;
  add(text, attributes_hash(contents.attributes));
  for (const hdf5::MemberContents& member : contents.members) {
    add(text, member.name);
    if (member.is_group) {
      add(text, "group");
      add(text, member.group_text);
    } else {
      add(text, type_text(member.dataset));
      add(text, fmt::format("{}", member.dataset.shape));
      add(text, attributes_hash(member.attributes));
    }
  }
  return core::content_hash(text);
}

void require_texts_hash(const hdf5::File& file, const std::string& group) {
  constexpr const char* kName = "texts_hash";
  if (!file.has_attribute(group, kName)) return;
  std::string texts;
  for (const hdf5::AttributeContents& attribute : hdf5::group_contents(file, group, kName).attributes) {
    if (attribute.name == kName || attribute.kind != hdf5::AttributeContents::Kind::kText) continue;
    add(texts, attribute.name);
    add(texts, attribute.value);
  }
  if (file.text(group, kName) != core::content_hash(texts))
    fail(file, group, "damaged: its texts do not have the recorded hash");
}

void require_digest(const hdf5::File& file, const std::string& group) {
  if (!file.has_attribute(group, kDigest)) {
    fail(file, group, "damaged: it has no digest, which says what is in it (see evictlab verify)");
  }
  if (file.text(group, kDigest) == group_digest(file, group)) return;
  fail(file, group, "damaged: its digest is not that of its attributes and of what is in it (see evictlab verify)");
}

void require_digests(const hdf5::File& file, const std::string& group) {
  require_digest(file, group);
  for (const std::string& inner : groups_in(file, group)) require_digests(file, inner);
}

void seal_group(hdf5::File& file, const std::string& group) {
  file.set_text(group, kDigest, group_digest(file, group));
}

void seal_groups(hdf5::File& file, const std::string& group) {
  for (const std::string& inner : groups_in(file, group)) seal_groups(file, inner);
  seal_group(file, group);
}

}  // namespace evictlab::trace
