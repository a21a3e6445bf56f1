#include "lab/observer.hpp"

#include <utility>

namespace evictlab::lab {

void Observer::progress(const Stage&, double, double) {}

void Observer::message(Topic, const std::string&) {}

std::function<void(double done, double total)> progress_to(Observer& observer, Stage stage) {
  return [&observer, stage = std::move(stage)](double done, double total) { observer.progress(stage, done, total); };
}

}  // namespace evictlab::lab
