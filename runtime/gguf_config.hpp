#pragma once

#include "core/gguf.hpp"
#include "runtime/model_config.hpp"

namespace evictlab::runtime {

/// What a GGUF file's metadata and list of tensors say of its model. Throws core::InputError in one line naming the
/// file and the key: one that is missing, of another type or out of range, an architecture, a rotary type or a feature
/// that is not supported.
ModelConfig read_gguf_config(const core::GgufFile& file);

}  // namespace evictlab::runtime
