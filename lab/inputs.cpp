#include "lab/inputs.hpp"

#include "core/error.hpp"
#include "core/gguf.hpp"

namespace evictlab::lab {

namespace fs = std::filesystem;

void Inputs::add_file(const fs::path& path) {
  if (const auto identity = core::file_identity(path)) files_.emplace(*identity, path);
}

Inputs& Inputs::add(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    add_file(path);
    return *this;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) add_file(entry.path());
  return *this;
}

Inputs& Inputs::add(const std::optional<fs::path>& path) { return path ? add(*path) : *this; }

Inputs& Inputs::add(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) add(path);
  return *this;
}

Inputs& Inputs::add_model(const fs::path& model) {
  if (core::is_gguf_path(model)) return add(core::gguf_parts(model));
  std::error_code error;
  constexpr auto kReadable = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(model, kReadable, error); it != fs::recursive_directory_iterator();
       it.increment(error)) {
    if (error) break;
    if (it->path().extension() != ".h5") add_file(it->path());
  }
  return *this;
}

bool Inputs::contain(const fs::path& path) const {
  const auto identity = core::file_identity(path);
  return identity && files_.contains(*identity);
}

void Inputs::refuse(const fs::path& output) const {
  for (const fs::path& written : {output, core::temporary_path(output)}) {
    const auto identity = core::file_identity(written);
    if (!identity) continue;
    const auto input = files_.find(*identity);
    if (input == files_.end()) continue;
    throw core::InputError("{}: is the file {} that is read here; write somewhere else", output.string(),
                           input->second.string());
  }
}

void Inputs::refuse_early(const fs::path& output) const {
  core::MadeDirectories made;
  made.make(output.parent_path());
  refuse(output);
}

}  // namespace evictlab::lab
