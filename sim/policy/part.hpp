#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/policy/parameters.hpp"

// What all parts of a policy have in common. A part is one file in scorers/, allocators/, selectors/ or decoders/ that
// ends with its definition, and one line in the .def file of its kind.

namespace evictlab::sim {

class Scorer;
class Allocator;
class Selector;
class DecodeRule;

/// Identifies a scorer, allocator, selector or decode rule, which never change once they are made.
class Part {
 public:
  virtual ~Part() = default;
  /// Name and value of every parameter: parts of one kind with the same identity do the same, so that policies compared
  /// side by side share their results. Parts that are made from their definition get theirs from the parameters' text.
  const std::string& identity() const { return identity_; }
  void set_identity(std::string identity) { identity_ = std::move(identity); }

 private:
  std::string identity_;
};

/// Describes a part: what a file in scorers/, allocators/, selectors/ or decoders/ says of it.
template <typename Kind>
struct PartDefinition {
  std::string description;        // one line
  ParameterList parameters = {};  // what users can set, through a policy that has parameters of these names
  ParameterList settings = {};    // what only policies set: which source's arithmetic, say
  bool offered = true;            // whether compose offers it
  bool from_file = false;         // stands for what is imported from a file
  std::function<std::unique_ptr<Kind>(const Parameters&)> make;  // reads parameters and settings
};
using ScorerDefinition = PartDefinition<Scorer>;
using AllocatorDefinition = PartDefinition<Allocator>;
using SelectorDefinition = PartDefinition<Selector>;
using DecoderDefinition = PartDefinition<DecodeRule>;

/// Lists a part with its name, "window".
template <typename Kind>
struct PartInfo {
  std::string name;
  PartDefinition<Kind> definition;
};

/// All parts of a kind, in the order of its .def file.
template <typename Kind>
std::span<const PartInfo<Kind>> parts();
template <>
std::span<const PartInfo<Scorer>> parts();
template <>
std::span<const PartInfo<Allocator>> parts();
template <>
std::span<const PartInfo<Selector>> parts();
template <>
std::span<const PartInfo<DecodeRule>> parts();

/// Parameters and settings of a part, by name.
using PartSettings = std::vector<std::pair<std::string, ParameterValue>>;

/// Chooses a part and sets some of its parameters: {"window", {{"kernel", 5}}}.
struct PartChoice {
  std::string name;
  PartSettings settings = {};
};

/// Make the part that is chosen. A parameter that the choice does not set has the value of the policy's parameter of
/// the same name, or of that name with the part's kind before it ("scorer.block"), where there is a policy that has
/// one, else its default. Throw ImpossiblePolicy for a value that the part does not take; std::logic_error for a part
/// or a parameter that does not exist.
std::shared_ptr<const Scorer> make_scorer(const PartChoice& choice, const Parameters* policy = nullptr);
std::shared_ptr<const Allocator> make_allocator(const PartChoice& choice, const Parameters* policy = nullptr);
std::shared_ptr<const Selector> make_selector(const PartChoice& choice, const Parameters* policy = nullptr);
std::shared_ptr<const DecodeRule> make_decoder(const PartChoice& choice, const Parameters* policy = nullptr);

/// "scorer.block": the name of a part's parameter where another part has one of the same name.
std::string qualified_name(std::string_view kind, std::string_view parameter);

/// What users can set of a part; policies add it to their own parameters.
const ParameterList& scorer_parameters(std::string_view name);
const ParameterList& allocator_parameters(std::string_view name);
const ParameterList& selector_parameters(std::string_view name);

}  // namespace evictlab::sim
