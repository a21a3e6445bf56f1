#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

// Model files for tests, written byte by byte.

namespace evictlab::testing {

inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A header's length as eight little-endian bytes.
inline std::string length_bytes(std::uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i) & 0xff));
  return bytes;
}

/// A safetensors file of that header and data.
inline std::string safetensors(const std::string& header, std::string_view data) {
  return length_bytes(header.size()) + header + std::string(data);
}

inline const std::filesystem::path kCheckpoints = std::filesystem::path(EVICTLAB_TEST_DATA) / "checkpoints";

/// A copy of a committed checkpoint that a test may spoil.
inline std::filesystem::path copy_checkpoint(const std::string& name, const std::filesystem::path& to) {
  std::filesystem::copy(kCheckpoints / name, to);
  return to;
}

/// Replaces keys of a JSON file; a null value removes the key.
inline void patch_json(const std::filesystem::path& path, const nlohmann::json& patch) {
  nlohmann::json object = nlohmann::json::parse(read_file(path));
  object.merge_patch(patch);
  write_file(path, object.dump());
}

/// The one-line message with which `action` refuses its input.
template <typename Error, typename Action>
std::string refusal(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "nothing was refused";
}

}  // namespace evictlab::testing
