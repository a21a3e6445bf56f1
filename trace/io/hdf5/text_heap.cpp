#include "trace/io/hdf5/text_heap.hpp"

#include <cstring>
#include <fstream>
#include <span>

namespace evictlab::trace::hdf5 {
namespace {

template <typename T>
T number_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

constexpr std::uint64_t kHeaderBytes = 16;  // of the heap, and of each object in it

// One heap: "GCOL", version, 3 bytes, size (8 bytes), objects.
std::optional<std::vector<std::byte>> read_heap(const std::filesystem::path& path, std::uint64_t address) {
  const std::uint64_t file_bytes = std::filesystem::file_size(path);
  if (file_bytes < kHeaderBytes || address > file_bytes - kHeaderBytes) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(address));
  std::vector<std::byte> heap(kHeaderBytes);
  file.read(reinterpret_cast<char*>(heap.data()), static_cast<std::streamsize>(kHeaderBytes));
  const auto size = number_at<std::uint64_t>(heap, 8);
  if (!file || std::memcmp(heap.data(), "GCOL\1", 5) != 0 || size < kHeaderBytes || size > file_bytes - address) {
    return std::nullopt;
  }
  heap.resize(size);
  file.read(reinterpret_cast<char*>(heap.data()) + kHeaderBytes, static_cast<std::streamsize>(size - kHeaderBytes));
  if (!file) return std::nullopt;
  return heap;
}

}  // namespace

std::optional<std::string> TextHeaps::text(const TextReference& reference) {
  const auto length = number_at<std::uint32_t>(reference, 0);
  const auto wanted = number_at<std::uint32_t>(reference, 12);
  if (length == 0) return "";
  const auto address = number_at<std::uint64_t>(reference, 4);
  const auto [found_heap, is_new] = heaps_.try_emplace(address);
  const std::optional<std::vector<std::byte>>& heap = found_heap->second;
  if (is_new) found_heap->second = read_heap(file_, address);
  if (!heap) return std::nullopt;

  // Object: number (2 bytes), references (2), 4 bytes, size (8), content padded to 8. Number 0 is the free
  // rest: its size includes the header. Less than a header may be left without one.
  std::uint64_t found = 0;  // where the text begins
  std::uint64_t offset = kHeaderBytes;
  while (heap->size() - offset >= kHeaderBytes) {
    const auto number = number_at<std::uint16_t>(*heap, offset);
    const auto size = number_at<std::uint64_t>(*heap, offset + 8);
    const std::uint64_t rest = heap->size() - offset;
    if (number == 0) {
      if (size < kHeaderBytes || size > rest) return std::nullopt;
      offset += size;
      continue;
    }
    if (size > rest - kHeaderBytes) return std::nullopt;
    const std::uint64_t padded = (size + 7) / 8 * 8;
    if (padded > rest - kHeaderBytes) return std::nullopt;
    if (number == wanted) {
      if (found != 0 || length > size) return std::nullopt;
      found = offset + kHeaderBytes;
    }
    offset += kHeaderBytes + padded;
  }
  if (found == 0) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(heap->data() + found), length);
}

}  // namespace evictlab::trace::hdf5
