// Gate and Log; see callbacks.h.
#include "lib/capi/callbacks.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"

namespace v4i::capi {

bool Gate::enter() {
  std::lock_guard lock(mutex_);
  if (closed_) return false;
  inside_.push_back(std::this_thread::get_id());
  return true;
}

void Gate::leave() noexcept {
  std::lock_guard lock(mutex_);
  inside_.erase(std::find(inside_.begin(), inside_.end(), std::this_thread::get_id()));
  if (inside_.empty()) idle_.notify_all();
}

void Gate::close() {
  check_outside();
  std::unique_lock lock(mutex_);
  closed_ = true;
  idle_.wait(lock, [&] { return inside_.empty(); });
}

void Gate::check_outside() {
  const std::lock_guard lock(mutex_);
  if (std::find(inside_.begin(), inside_.end(), std::this_thread::get_id()) != inside_.end())
    fail(Code::kState, "quiesce was called from inside a callback of the same engine");
}

void Gate::closed_error() {
  fail(Code::kState, "the engine was quiesced, and this call needs a callback of the host");
}

Inside::Scope::Scope(Inside& inside) : inside_(inside) {
  const std::lock_guard lock(inside_.mutex_);
  inside_.threads_.push_back(std::this_thread::get_id());
  ++inside_.count_;
}

Inside::Scope::~Scope() {
  const std::lock_guard lock(inside_.mutex_);
  auto& threads = inside_.threads_;
  threads.erase(std::find(threads.begin(), threads.end(), std::this_thread::get_id()));
  --inside_.count_;
}

bool Inside::here() const noexcept {
  if (count_ == 0) return false;
  const std::lock_guard lock(mutex_);
  return std::find(threads_.begin(), threads_.end(), std::this_thread::get_id()) != threads_.end();
}

void Log::add(std::int32_t level, const char* component, std::string text) {
  if (!wants(level)) return;
  std::lock_guard lock(mutex_);
  if (lines_.size() < kMost) lines_.push_back({level, component, std::move(text)});
  any_ = true;
}

void Log::flush(Gate& gate) {
  if (!any_) return;
  std::vector<Line> lines;
  {
    std::lock_guard lock(mutex_);
    any_ = false;
    lines.swap(lines_);
  }
  for (const Line& line : lines)
    gate.run([&] { fn_(line.level, line.component, line.text.data(), line.text.size(), user_); });
}

}  // namespace v4i::capi
