#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

// The interactive look at a few prompts: attention over the tokens' text beside what two policies keep. Everything is
// pooled into cells of successive positions and quantised, so that it can be part of the page.

namespace evictlab::plots {

/// What a policy at a budget keeps of a prompt: per layer and kept set one bit a cell.
struct LookKept {
  std::size_t sets = 0;            // per layer: 1, kv heads or query heads
  std::vector<std::uint8_t> bits;  // [layers, sets, ceil(cells / 8)], the first cell is the lowest bit
};

struct LookPrompt {
  std::string id = {};
  std::string task = {};
  std::size_t positions = 0;
  std::size_t cell = 1;                 // positions of a cell; the last one may have fewer
  std::vector<std::string> texts = {};  // [cells]
  std::vector<int> layers = {};         // of the model
  std::size_t heads = 0;
  struct Span {
    std::string name;
    std::size_t begin, end;  // cells
  };
  std::vector<Span> spans = {};
  std::vector<std::uint8_t> window = {};         // [layers, heads, cells], quantised attention
  std::vector<std::uint8_t> future = {};         // the same; empty without a future
  std::vector<std::vector<LookKept>> kept = {};  // [budgets][policies]; no sets: infeasible
};

struct Look {
  std::vector<std::string> policies = {};  // labels
  std::vector<std::string> budgets = {};
  std::string choice = {};  // which prompts these are, and why
  std::vector<LookPrompt> prompts = {};
};

/// Positions that make one cell where at most `most` cells are wanted.
std::size_t cell_size(std::size_t positions, std::size_t most);
/// The largest value of every cell of `cell` values.
std::vector<float> pooled(std::span<const float> values, std::size_t cell);
/// A share of attention on a logarithmic scale: 1 -> 255, 10^-4 and below -> 0.
std::uint8_t quantised(float share);
/// One bit a cell: whether any of `positions` lies in it.
std::vector<std::uint8_t> cell_bits(std::span<const std::int32_t> positions, std::size_t cell, std::size_t cells);

/// As JSON that can stand in a script element: no "<", and no line ends that JavaScript would see. Bytes are base64.
std::string look_json(const Look& look);

}  // namespace evictlab::plots
