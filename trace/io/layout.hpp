#pragma once

#include <string>
#include <string_view>

#include "trace/io/hdf5/file.hpp"
#include "trace/io/settings.hpp"
#include "trace/model.hpp"

// The layout of a trace in HDF5 (docs/trace-format.md): names, and the attributes of model and prompts. Writer and
// readers share it, so that neither can drift from the other.

namespace evictlab::trace::layout {

inline constexpr std::string_view kFormat = "evictlab-trace";
/// Raised when the meaning of anything stored changes; additions leave it.
inline constexpr int kFormatVersion = 2;
inline constexpr int kOldestFormatVersion = 1;  // of those that are read
inline constexpr int kFirstVersionWithDigests = 2;
inline constexpr int kFirstVersionWithResidualNorms = 2;

/// Says what is wrong with a prompt's id; empty = nothing. An id is a link's name and, escaped, a file's.
std::string id_problem(std::string_view id);
/// The name of a prompt's part: the id with every byte outside [A-Za-z0-9._-] as %XX, and ".h5".
/// Never "model.h5", and never hidden.
std::string part_name(std::string_view id);

std::string prompt_path(const std::string& id);
std::string layer_path(const std::string& id, Index layer);
std::string field_path(const std::string& id, Index layer, Field field);
std::string output_weight_path(Index layer);

/// Writes a dataset with its attributes axes, unit and hash.
void write_dataset(hdf5::File& file, const std::string& object, hdf5::Type type, std::span<const std::uint64_t> shape,
                   std::span<const std::byte> elements, std::string_view axes, std::string_view unit);
/// Writes the attributes alone, of a dataset that is there.
void describe_dataset(hdf5::File& file, const std::string& object, std::span<const std::byte> elements,
                      std::string_view axes, std::string_view unit);

/// Throws TraceError unless this is the hash that is recorded of a dataset.
void require_hash(const hdf5::File& file, const std::string& object, const std::string& hash);

/// Who wrote a trace, and by which command.
struct Provenance {
  int format_version = 0;
  std::string writer;   // "evictlab 0.1.0"
  std::string command;  // the command line
  Settings settings;    // empty: unknown
};

/// The attributes of the root: provenance and model. Reading the first throws TraceError for another format
/// or version, reading the second checks that the sizes make sense.
void write_root(hdf5::File& file, const std::string& command, const ModelInfo& model, const Settings& settings);
Provenance read_root(const hdf5::File& file);
ModelInfo read_model(const hdf5::File& file);

/// The attributes of a prompt's group. `index` orders the prompts of a trace. What its version of the format does not
/// have counts as missing.
void write_prompt(hdf5::File& file, const PromptInfo& prompt, Index index);
PromptInfo read_prompt(const hdf5::File& file, const std::string& id, const ModelInfo& model, int format_version);
/// Writes the attribute alone that names what a prompt lacks, of a prompt that is there.
void write_missing(hdf5::File& file, const PromptInfo& prompt);
/// Throws TraceError when a prompt's sizes make no sense for the model; `where` begins the message.
void check_prompt(const PromptInfo& prompt, const ModelInfo& model, const std::string& where);
void check_model(const ModelInfo& model, const std::string& where);

/// Names the first difference of two models; empty = prompts of both may share a trace.
std::string model_difference(const ModelInfo& have, const ModelInfo& given);

}  // namespace evictlab::trace::layout
