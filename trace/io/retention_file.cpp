#include "trace/io/retention_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "core/file.hpp"
#include "core/version.hpp"
#include "trace/io/hdf5/file.hpp"

namespace evictlab::trace {

namespace fs = std::filesystem;

namespace {

fs::path free_path(fs::path path, bool force) {
  if (!force && fs::exists(path)) throw TraceError("{}: exists already; replace it with --force", path.string());
  return path;
}

}  // namespace

struct RetentionWriter::Impl {
  Impl(fs::path the_path, bool force)
      : path(free_path(std::move(the_path), force)),
        temporary(path.string() + ".tmp"),
        file(hdf5::File::create(temporary)) {}
  ~Impl() {
    std::error_code ignored;
    if (!finished) fs::remove(temporary, ignored);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  fs::path path;
  fs::path temporary;
  hdf5::File file;
  std::int64_t runs = 0;
  std::string run;
  std::vector<std::int64_t> layers;
  bool finished = false;

  void end_run() {
    if (runs > 0) file.set_integers(run, "layers", layers);
    layers.clear();
  }
};

RetentionWriter::RetentionWriter(fs::path path, const std::string& command, bool force)
    : impl_(std::make_unique<Impl>(std::move(path), force)) {
  impl_->file.set_text("/", "format", "evictlab-retention");
  impl_->file.set_integer("/", "format_version", 1);
  impl_->file.set_text("/", "writer", std::string("evictlab ") + core::version());
  impl_->file.set_text("/", "command", command);
}

RetentionWriter::~RetentionWriter() = default;

void RetentionWriter::begin_run(const std::string& policy, const std::string& budget, const std::string& prompt,
                                const std::string& granularity) {
  impl_->end_run();
  impl_->run = fmt::format("/{}", impl_->runs++);
  impl_->file.create_group(impl_->run);
  impl_->file.set_text(impl_->run, "policy", policy);
  impl_->file.set_text(impl_->run, "budget", budget);
  impl_->file.set_text(impl_->run, "prompt", prompt);
  impl_->file.set_text(impl_->run, "granularity", granularity);
}

void RetentionWriter::write_layer(Index layer, std::span<const std::int32_t> positions,
                                  std::span<const std::int64_t> offsets, std::span<const std::int64_t> budgets) {
  if (impl_->runs == 0) throw std::logic_error("a layer's retention belongs to a run");
  if (offsets.size() != budgets.size() + 1 || offsets.front() != 0 || !std::ranges::is_sorted(offsets) ||
      offsets.back() != static_cast<std::int64_t>(positions.size())) {
    throw std::invalid_argument("offsets do not divide the kept positions into heads");
  }
  const std::string group = fmt::format("{}/{}", impl_->run, layer);
  const auto write = [&](const char* name, hdf5::Type type, auto values, const char* axes, const char* unit) {
    const std::uint64_t count = values.size();
    const std::string object = fmt::format("{}/{}", group, name);
    impl_->file.write(object, type, {&count, 1}, std::as_bytes(values));
    impl_->file.set_text(object, "axes", axes);
    impl_->file.set_text(object, "unit", unit);
  };
  write("positions", hdf5::Type::kInt32, positions, "kept position, by head", "position");
  write("offsets", hdf5::Type::kInt64, offsets, "head, and the end", "index into positions");
  write("budgets", hdf5::Type::kInt64, budgets, "head", "positions");
  impl_->layers.push_back(layer);
}

void RetentionWriter::finish() {
  impl_->end_run();
  impl_->file.close();
  core::sync_path(impl_->temporary);
  core::rename_durably(impl_->temporary, impl_->path);
  impl_->finished = true;
}

struct RetentionReader::Impl {
  explicit Impl(const fs::path& path) : file(hdf5::File::open(path)) {}
  hdf5::File file;
};

RetentionReader::RetentionReader(const fs::path& path) : impl_(std::make_unique<Impl>(path)) {
  const hdf5::File& file = impl_->file;
  if (!file.has_attribute("/", "format") || file.text("/", "format") != "evictlab-retention") {
    throw TraceError("{}: is no file of kept positions (format evictlab-retention)", path.string());
  }
  if (file.integer("/", "format_version") != 1) {
    throw TraceError("{}: kept positions of format version {}; version 1 is known", path.string(),
                     file.integer("/", "format_version"));
  }
  for (std::size_t run = 0; file.exists(fmt::format("/{}", run)); ++run) {
    const std::string group = fmt::format("/{}", run);
    runs_.push_back({file.text(group, "policy"), file.text(group, "budget"), file.text(group, "prompt"),
                     file.text(group, "granularity"), file.integers(group, "layers")});
  }
  if (runs_.empty()) throw TraceError("{}: holds no kept positions", path.string());
}

RetentionReader::~RetentionReader() = default;

const fs::path& RetentionReader::path() const { return impl_->file.path(); }

KeptLayer RetentionReader::layer(std::size_t run, Index layer) const {
  const std::string group = fmt::format("/{}/{}", run, layer);
  KeptLayer kept{impl_->file.read<std::int32_t>(group + "/positions"),
                 impl_->file.read<std::int64_t>(group + "/offsets")};
  const auto& offsets = kept.offsets;
  if (offsets.size() < 2 || offsets.front() != 0 || !std::ranges::is_sorted(offsets) ||
      offsets.back() != static_cast<std::int64_t>(kept.positions.size())) {
    throw TraceError("{}: offsets of {} do not divide its positions into heads", impl_->file.path().string(), group);
  }
  return kept;
}

}  // namespace evictlab::trace
