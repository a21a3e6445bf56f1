#include "core/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace evictlab::core {
namespace {

constexpr int kBarWidth = 20;
constexpr std::chrono::milliseconds kRedrawInterval{100};

std::string clock_time(double seconds) {
  const auto whole = static_cast<long long>(std::ceil(seconds));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

Progress::Progress(std::string label, double total, std::string unit, Clock::time_point start)
    : label_(std::move(label)),
      total_(total),
      unit_(std::move(unit)),
      visible_(isatty(STDERR_FILENO) == 1),
      start_(start),
      last_draw_(start) {}

Progress::~Progress() {
  if (!drawn_) return;
  draw();
  std::fputc('\n', stderr);
}

void Progress::advance_to(double done) {
  done_ = done;
  if (!visible_) return;
  const Clock::time_point now = Clock::now();
  if (drawn_ && now - last_draw_ < kRedrawInterval) return;
  last_draw_ = now;
  draw();
}

void Progress::draw() {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const std::string text = line(label_, done_, total_, unit_, seconds);
  // Spaces, not an escape sequence, cover a longer earlier line: any terminal can show them.
  fmt::print(stderr, "\r{:<78}", text);
  std::fflush(stderr);
  drawn_ = true;
}

std::string Progress::line(const std::string& label, double done, double total, const std::string& unit,
                           double seconds) {
  const double share = total > 0 ? std::clamp(done / total, 0.0, 1.0) : 1.0;
  const auto filled = static_cast<std::size_t>(share * kBarWidth);
  std::string text = fmt::format("{}  [{}{}]  {} %", label, std::string(filled, '#'),
                                 std::string(kBarWidth - filled, '.'), static_cast<int>(share * 100));
  if (done <= 0 || seconds <= 0) return text;
  const double rate = done / seconds;
  text += fmt::format("  {:.{}f} {}/s", rate, rate < 10 ? 1 : 0, unit);
  const double left = std::max(0.0, total - done) / rate;
  // Beyond a hundred hours it is no estimate.
  if (left < 360000.0) text += fmt::format("  ETA {}", clock_time(left));
  return text;
}

}  // namespace evictlab::core
