#include "sim/policy/eviction_site.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "sim/policy/independent_allocation.hpp"

namespace evictlab::sim {
namespace {

/// So many layers are more than a selection is ever shared by.
constexpr Index kManyLayers = 64;

class SiteAllocation final : public IndependentAllocation {
 public:
  SiteAllocation(const AllocationRequest& request, const EvictionSite& site) : request_(request), site_(site) {
    if (site.layer && *site.layer >= request.layers) {
      throw PolicyError("evict_layer={}: the model has layers 0 to {}", *site.layer, request.layers - 1);
    }
  }

 private:
  std::vector<Index> positions(const LayerSummary& summary) const override {
    const trace::LayerShape& shape = summary.layer.shape;
    const Index sets = set_count(request_.granularity, shape);
    std::vector<Index> own(static_cast<std::size_t>(sets), summary.ranges.visible());
    if (site_.layer && *site_.layer != shape.layer) return own;
    if (site_.head && *site_.head >= shape.kv_heads) {
      throw PolicyError("evict_head={}: layer {} has kv heads 0 to {}", *site_.head, shape.layer, shape.kv_heads - 1);
    }
    const Index count = std::min(request_.capacity(shape), summary.ranges.visible());
    for (Index set = 0; set < sets; ++set) {
      // Sets of query heads lie in the order of the kv heads that they read.
      const bool here = !site_.head || set * shape.kv_heads / sets == *site_.head;
      if (here) own[static_cast<std::size_t>(set)] = count;
    }
    return own;
  }

  AllocationRequest request_;
  EvictionSite site_;
};

}  // namespace

std::string EvictionSite::text() const {
  std::string text;
  if (layer) text = fmt::format("evict_layer={}", *layer);
  if (head) text += fmt::format("{}evict_head={}", text.empty() ? "" : ",", *head);
  return text;
}

Policy evicting_only_at(const EvictionSite& site, Policy policy) {
  const auto refuse = [&](std::string_view why) {
    throw ImpossiblePolicy("policy '{}' cannot evict in one place only ({}): {}", policy.name, site.text(), why);
  };
  if (policy.allocator->traits().ignores_budget) refuse("it does not keep a count that is asked for");
  if (policy.selector->sharing(kManyLayers).layers > 1) refuse("successive layers share what one of them selects");
  if (policy.decoding) refuse("it goes on evicting in every layer while it decodes");
  if (site.head && policy.granularity == Granularity::kLayer) refuse("the heads of a layer share a kept set");
  std::unique_ptr<Allocator> allocator = rule_allocator<SiteAllocation>({}, EvictionSite(site));
  allocator->set_identity(site.text());
  policy.allocator = std::move(allocator);
  return policy;
}

}  // namespace evictlab::sim
