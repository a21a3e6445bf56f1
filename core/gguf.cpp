#include "core/gguf.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "core/error.hpp"
#include "core/message.hpp"
#include "core/safetensors.hpp"
#include "core/text.hpp"

namespace evictlab::core {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr std::string_view kExtension = ".gguf";
constexpr std::uint32_t kMostDimensions = 4;

// What ggml has besides the types that can be expanded: for messages.
constexpr std::pair<std::uint32_t, std::string_view> kOtherTypes[] = {
    {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {21, "IQ3_S"}, {22, "IQ2_S"}, {24, "I8"},      {25, "I16"},    {26, "I32"},     {27, "I64"},
    {28, "F64"},   {29, "IQ1_M"}, {34, "TQ1_0"},   {35, "TQ2_0"},  {40, "NVFP4"},   {41, "Q1_0"}};

std::string type_text(std::uint32_t number) {
  const auto* const found = std::ranges::find(kOtherTypes, number, &std::pair<std::uint32_t, std::string_view>::first);
  return found == std::end(kOtherTypes) ? std::to_string(number) : std::string(found->second);
}

/// NAME-00002-of-00003.gguf as ("NAME", 2, 3).
struct PartName {
  std::string name;
  std::size_t number;
  std::size_t count;
};

std::optional<PartName> part_name(const std::filesystem::path& path) {
  constexpr std::size_t kDigits = 5;
  constexpr std::string_view kOf = "-of-";
  const std::string name = path.filename().string();
  const std::size_t tail = 1 + kDigits + kOf.size() + kDigits + kExtension.size();
  if (!name.ends_with(kExtension) || name.size() <= tail) return std::nullopt;
  const std::string_view rest = std::string_view(name).substr(name.size() - tail);
  const auto is_digits = [](std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  };
  const std::string_view number = rest.substr(1, kDigits);
  const std::string_view count = rest.substr(1 + kDigits + kOf.size(), kDigits);
  if (rest.front() != '-' || rest.substr(1 + kDigits, kOf.size()) != kOf || !is_digits(number) || !is_digits(count)) {
    return std::nullopt;
  }
  return PartName{name.substr(0, name.size() - tail), static_cast<std::size_t>(*parse_integer(number)),
                  static_cast<std::size_t>(*parse_integer(count))};
}

/// The magic number, the version and how many tensors and pairs there are.
struct Header {
  std::uint64_t tensors;
  std::uint64_t pairs;
};

Header read_header(GgufCursor& cursor) {
  const std::string& where = cursor.name();
  const std::span<const std::byte> magic = cursor.take(std::min(kMagic.size(), cursor.remaining()), "the header");
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), magic.size()) != kMagic) {
    throw InputError("{}: not a GGUF file; a model is a directory with config.json or a .gguf file", where);
  }
  const std::uint32_t version = cursor.u32("the header");
  if (version != 0 && version % 65536 == 0)
    throw InputError("{}: a big-endian file; expected a little-endian one", where);
  if (version != 2 && version != 3) throw InputError("{}: GGUF version {}; supported are 2 and 3", where, version);
  const std::uint64_t tensors = cursor.u64("the header");
  return {tensors, cursor.u64("the header")};
}

/// A tensor's entry in the header.
struct Entry {
  GgufTensor tensor;
  std::uint64_t offset = 0;
};

std::uint64_t element_count(const GgufTensor& tensor, const std::string& label) {
  std::uint64_t count = 1;
  for (const std::uint64_t size : tensor.shape) {
    if (size != 0 && count > std::numeric_limits<std::uint64_t>::max() / size) {
      throw InputError("{}: shape {} overflows", label, shape_text(tensor.shape));
    }
    count *= size;
  }
  return count;
}

std::string label_of(const std::string& where, std::string_view name) {
  return fmt::format("{}: tensor {}", where, quote(name));
}

Entry read_entry(GgufCursor& cursor) {
  constexpr std::string_view kWhat = "the list of tensors";
  Entry entry;
  GgufTensor& tensor = entry.tensor;
  tensor.name = cursor.string(kWhat);
  const std::string label = label_of(cursor.name(), tensor.name);
  const std::uint32_t dimensions = cursor.u32(kWhat);
  if (dimensions > kMostDimensions) {
    throw InputError("{}: {} dimensions; GGUF has at most {}", label, dimensions, kMostDimensions);
  }
  for (std::uint32_t i = 0; i < dimensions; ++i) tensor.shape.push_back(cursor.u64(kWhat));
  std::ranges::reverse(tensor.shape);
  const std::uint32_t number = cursor.u32(kWhat);
  entry.offset = cursor.u64(kWhat);
  const std::optional<StorageType> type = find_gguf_type(number);
  if (!type) {
    throw InputError("{}: type {} is not supported; known: {}", label, type_text(number), known_storage_types());
  }
  tensor.type = *type;
  const std::size_t block = storage_layout(*type).block_elements;
  const std::uint64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (columns % block != 0) {
    throw InputError("{}: rows of {} elements, but {} has blocks of {}", label, columns, storage_layout(*type).name,
                     block);
  }
  return entry;
}

std::uint64_t read_alignment(const GgufMetadata& metadata) {
  constexpr std::uint64_t kDefault = 32;
  const GgufValue* value = metadata.find("general.alignment");
  if (value == nullptr) return kDefault;
  const std::int64_t alignment = value->integer(1, std::int64_t{1} << 30U);
  // The format asks for a multiple of 8; ggml for a power of 2, so that numbers are aligned.
  if (alignment < 8 || (alignment & (alignment - 1)) != 0) {
    value->fail("expected a power of 2 from 8 on, got {}", alignment);
  }
  return static_cast<std::uint64_t>(alignment);
}

/// Points a tensor at its bytes.
void place(Entry& entry, std::span<const std::byte> data, std::uint64_t alignment, const std::string& where) {
  GgufTensor& tensor = entry.tensor;
  const std::string label = label_of(where, tensor.name);
  if (entry.offset % alignment != 0) {
    throw InputError("{}: offset {} is not a multiple of the alignment {}", label, entry.offset, alignment);
  }
  const StorageLayout& layout = storage_layout(tensor.type);
  const std::uint64_t blocks = element_count(tensor, label) / layout.block_elements;
  const std::uint64_t room = entry.offset <= data.size() ? data.size() - entry.offset : 0;
  if (entry.offset > data.size() || blocks > room / layout.block_bytes) {
    throw InputError("{}: {} of shape {} at byte {} leaves the file, which has {} bytes of data", label, layout.name,
                     shape_text(tensor.shape), entry.offset, data.size());
  }
  tensor.bytes = data.subspan(entry.offset, blocks * layout.block_bytes);
}

void refuse_overlaps(const std::vector<Entry>& ascending, const std::string& where) {
  for (std::size_t i = 1; i < ascending.size(); ++i) {
    const std::uint64_t end = ascending[i - 1].offset + ascending[i - 1].tensor.bytes.size();
    if (ascending[i].offset < end) {
      throw InputError("{}: begins at byte {} of the data, inside {}, which ends at byte {}",
                       label_of(where, ascending[i].tensor.name), ascending[i].offset,
                       quote(ascending[i - 1].tensor.name), end);
    }
  }
}

void check_part(const GgufMetadata& metadata, std::size_t number, std::size_t parts) {
  constexpr std::int64_t kMost = 65535;
  const std::int64_t count = metadata.find_integer("split.count", 0, kMost).value_or(0);
  const std::int64_t index = metadata.find_integer("split.no", 0, kMost).value_or(0);
  if (std::cmp_not_equal(std::max<std::int64_t>(count, 1), parts)) {
    metadata.fail("split.count is {}, but the file's name stands for {} of {} parts", count, number, parts);
  }
  if (parts > 1 && std::cmp_not_equal(index + 1, number)) {
    metadata.fail("split.no is {}, but the file's name stands for part {}, which is number {}", index, number,
                  number - 1);
  }
}

}  // namespace

bool is_gguf_path(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return false;
  return path.extension() == kExtension || std::filesystem::is_regular_file(path, error);
}

void require_model_path(const std::filesystem::path& path) {
  std::error_code error;
  if (is_gguf_path(path) || std::filesystem::is_directory(path, error)) return;
  throw InputError("{}: no such model; expected a directory or a .gguf file", path.string());
}

std::vector<std::filesystem::path> gguf_parts(const std::filesystem::path& path) {
  const std::optional<PartName> part = part_name(path);
  if (!part) return {path};
  std::vector<std::filesystem::path> parts;
  for (std::size_t number = 1; number <= part->count; ++number) {
    parts.push_back(path.parent_path() /
                    fmt::format("{}-{:05}-of-{:05}{}", part->name, number, part->count, kExtension));
  }
  return parts;
}

std::string gguf_name(const std::filesystem::path& path) {
  if (const std::optional<PartName> part = part_name(path)) return part->name;
  return path.extension() == kExtension ? path.stem().string() : path.filename().string();
}

GgufFile::GgufFile(const std::filesystem::path& path) : path_(path) {
  const std::optional<PartName> part = part_name(path);
  if (part && (part->number == 0 || part->number > part->count)) {
    throw InputError("{}: the name stands for part {} of {}", path.string(), part->number, part->count);
  }
  const std::vector<std::filesystem::path> paths = gguf_parts(path);
  if (part && part->number > 1) {
    throw InputError("{}: part {} of {}; give the first, {}", path.string(), part->number, part->count,
                     paths.front().filename().string());
  }
  files_.reserve(paths.size());
  // A single file keeps the spelling that it was given in.
  for (std::size_t i = 0; i < paths.size(); ++i) read_part(i == 0 ? path : paths[i], i + 1, paths.size());
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : tensors_) {
    if (!names.insert(tensor.name).second) throw InputError("{}: occurs twice", label_of(path.string(), tensor.name));
  }
  const auto expected = metadata_->find_integer("split.tensors.count", 0, std::numeric_limits<std::int32_t>::max());
  if (expected && std::cmp_not_equal(*expected, tensors_.size())) {
    metadata_->fail("split.tensors.count is {}, but the parts hold {} tensors", *expected, tensors_.size());
  }
}

void GgufFile::read_part(const std::filesystem::path& path, std::size_t number, std::size_t parts) {
  const MappedFile& file = files_.emplace_back(path);
  const std::string where = path.string();
  GgufCursor cursor(file.bytes(), where);
  const Header header = read_header(cursor);
  auto metadata = std::make_unique<GgufMetadata>(cursor, header.pairs);
  check_part(*metadata, number, parts);
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i < header.tensors; ++i) entries.push_back(read_entry(cursor));
  const std::uint64_t alignment = read_alignment(*metadata);
  const std::uint64_t padding = (alignment - cursor.position() % alignment) % alignment;
  const auto data = file.bytes().subspan(cursor.position() + std::min<std::uint64_t>(padding, cursor.remaining()));
  for (Entry& entry : entries) place(entry, data, alignment, where);
  std::ranges::stable_sort(entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.offset, a.tensor.bytes.size()) < std::pair(b.offset, b.tensor.bytes.size());
  });
  refuse_overlaps(entries, where);
  for (Entry& entry : entries) tensors_.push_back(std::move(entry.tensor));
  if (number == 1) metadata_ = std::move(metadata);
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = std::ranges::find(tensors_, name, &GgufTensor::name);
  return found == tensors_.end() ? nullptr : &*found;
}

}  // namespace evictlab::core
