// Stacks with code parked on them, and the switch from one to another.
#pragma once

#include <cstddef>
#include <vector>

namespace v4i::emulate {

struct Fibre {
  unsigned char* low = nullptr;  // of its stack
  std::size_t bytes = 0;
  void* context = nullptr;     // where its code is parked
  void* fake_stack = nullptr;  // AddressSanitizer's
};

// Parks the caller in `from` and goes on where `to` is parked.
void switch_fibre(Fibre& from, Fibre& to);

// The fibres of a host thread, used again and again.  Each runs `code`, which never returns and
// parks itself when it has nothing to do.
class Fibres {
 public:
  static constexpr std::size_t kMost = 1024;

  explicit Fibres(void (*code)()) : code_(code) {}
  ~Fibres();
  Fibres(const Fibres&) = delete;
  Fibres& operator=(const Fibres&) = delete;

  Fibre* take() {
    if (idle_.empty()) return make();
    Fibre* f = idle_.back();
    idle_.pop_back();
    return f;
  }
  void give_back(Fibre* f) { idle_.push_back(f); }
  // Forgets what runs on it; it starts from the beginning.
  void abandon(Fibre* f);

  bool contains(const void* p) const {
    return static_cast<std::size_t>(static_cast<const unsigned char*>(p) - region_) < region_bytes_;
  }

 private:
  Fibre* make();

  void (*code_)();
  unsigned char* region_ = nullptr;
  std::size_t region_bytes_ = 0, used_ = 0;
  Fibre* all_ = nullptr;
  std::vector<Fibre*> idle_;
};

}  // namespace v4i::emulate
