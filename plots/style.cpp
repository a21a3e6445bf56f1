#include "plots/style.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace evictlab::plots {
namespace {

constexpr const char* kBlack = "#000000";
constexpr const char* kOrange = "#E69F00";
constexpr const char* kSky = "#56B4E9";
constexpr const char* kGreen = "#009E73";
constexpr const char* kBlue = "#0072B2";
constexpr const char* kVermillion = "#D55E00";
constexpr const char* kPurple = "#CC79A7";
constexpr const char* kWine = "#882255";
constexpr const char* kIndigo = "#332288";
constexpr const char* kGrey = "#8C8C8C";

struct NamedStyle {
  const char* policy;
  const char* color;
  int point_type;  // 4/5 square, 6/7 circle, 8/9 triangle, 10/11 triangle down, 12/13 diamond: open/filled
  const char* dash;
};

// Colours that readers know from one figure to the next, in the order of legends. A family shares a colour; its members
// differ in mark and dash. A policy needs no entry: policy_style() finds a style for it, which is stable but may be
// like another one's.
constexpr NamedStyle kStyles[] = {
    {"full", kBlack, 0, "solid"},
    {"oracle", kBlack, 13, "solid"},
    {"random", kGrey, 2, "-"},
    {"protect-only", kGrey, 1, "."},
    {"streaming-llm", kSky, 5, "solid"},
    {"simlayerkv", kSky, 4, "-"},
    {"h2o", kOrange, 7, "solid"},
    {"tova", kOrange, 6, "-"},
    {"snapkv", kBlue, 7, "solid"},
    {"ada-snapkv", kBlue, 6, "-"},
    {"pyramidkv", kVermillion, 9, "solid"},
    {"ada-pyramid", kVermillion, 8, "-"},
    {"dynamickv", kPurple, 11, "solid"},
    {"windowkv", kPurple, 10, "-"},
    {"cake", kGreen, 5, "solid"},
    {"criticalkv", kGreen, 4, "-"},
    {"critical-adakv", kGreen, 12, "."},
    {"expected-attention", kIndigo, 13, "solid"},
    {"knorm", kWine, 9, "solid"},
    {"keydiff", kWine, 8, "-"},
    {"lagkv", kWine, 11, "."},
    {"chunkkv", kWine, 4, "solid"},
};

constexpr const char* kDashes[] = {"solid", "-", ".", "-.", "_"};
constexpr int kMarks[] = {7, 9, 5, 13, 11, 6, 8, 4, 12, 10};

std::uint32_t fnv1a(std::string_view text) {
  std::uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

/// The end of kStyles for a policy that it does not list.
const NamedStyle* listed_style(std::string_view policy) {
  return std::find_if(std::begin(kStyles), std::end(kStyles),
                      [policy](const NamedStyle& style) { return style.policy == policy; });
}

const char* unlisted_color(results::Role role, std::size_t number) {
  if (role == results::Role::kCeiling) return kBlack;
  if (role == results::Role::kControl) return kGrey;
  constexpr const char* kOthers[] = {kOrange, kSky, kGreen, kBlue, kVermillion, kPurple, kWine, kIndigo};
  return kOthers[number % std::size(kOthers)];
}

Style base_style(std::string_view policy, results::Role role, std::size_t variation) {
  const NamedStyle* const listed = listed_style(policy);
  if (listed != std::end(kStyles)) return {listed->color, listed->point_type, listed->dash};
  const std::uint32_t hash = fnv1a(policy);
  return {unlisted_color(role, hash + variation), kMarks[hash / 8 % std::size(kMarks)],
          kDashes[hash / 128 % std::size(kDashes)]};
}

}  // namespace

std::string Style::line() const {
  return fmt::format("lc rgb '{}' dt {} lw {:.2g}", color, dash == "solid" ? dash : fmt::format("'{}'", dash), width);
}

std::string Style::mark() const {
  return fmt::format("lc rgb '{}' pt {} lw {:.2g} ps {}", color, point_type, width, point_type == 0 ? 0.0 : mark_size);
}

Style Style::over(double points) const {
  constexpr double kMany = 16;
  Style style = *this;
  if (points > kMany) style.mark_size = 0.7;
  return style;
}

std::string Style::gnuplot() const {
  return fmt::format("{} pt {} ps {}", line(), point_type, point_type == 0 ? 0.0 : mark_size);
}

Style policy_style(std::string_view policy, results::Role role, std::size_t variation) {
  Style style = base_style(policy, role, variation);
  if (variation == 0) return style;
  const auto mark =
      static_cast<std::size_t>(std::find(std::begin(kMarks), std::end(kMarks), style.point_type) - std::begin(kMarks));
  style.point_type = kMarks[(mark + variation) % std::size(kMarks)];
  style.dash = kDashes[variation % std::size(kDashes)];
  return style;
}

std::size_t policy_rank(std::string_view policy) {
  return static_cast<std::size_t>(listed_style(policy) - std::begin(kStyles));
}

Style task_style(std::size_t number) {
  constexpr const char* kColors[] = {"#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9",
                                     "#CC79A7", "#882255", "#332288", "#8C8C8C"};
  constexpr int kTaskMarks[] = {7, 9, 5, 13, 11, 6, 8, 4, 12};
  constexpr std::size_t kCount = std::size(kColors);
  return {kColors[number % kCount], kTaskMarks[number % kCount], number / kCount % 2 == 0 ? "solid" : "-", 1.6};
}

std::string sequential_palette() {
  return "set palette defined (0 '#440154', 1 '#472D7B', 2 '#3B528B', 3 '#2C728E', 4 '#21918C', 5 '#28AE80', "
         "6 '#5EC962', 7 '#ADDC30', 8 '#FDE725')\n";
}

std::string diverging_palette() {
  return "set palette defined (0 '#08306B', 1 '#2B6CA8', 2 '#8FBFE0', 3 '#F5F5F2', 4 '#FDC070', 5 '#E07B1A', "
         "6 '#7F3B08')\n";
}

}  // namespace evictlab::plots
