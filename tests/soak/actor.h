// Actor: one thread's sessions, and what it does to them at random.
//
// Every session holds the beginning of a story, so what it must say next is known (truth.h).  A
// call may fail with V4I_E_NO_MEMORY and a sentence; then the session must still be as it was,
// which the calls after it show.  Any other failure, and any other text, ends the program.
#pragma once

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/soak/truth.h"

namespace v4i::soak {

struct Counts {
  std::atomic<std::uint64_t> calls{0}, refused{0}, checked{0}, tokens{0}, reused{0};
};

class Actor {
 public:
  Actor(const v4infer::Model& model, const Truth& truth, v4i_kv_store* store, std::string folder,
        std::uint32_t vocab, std::uint64_t seed, Counts& counts)
      : model_(model),
        truth_(truth),
        store_(store),
        file_(folder + "/saved-" + std::to_string(seed)),
        vocab_(vocab),
        random_(seed),
        seed_(seed),
        counts_(counts) {}
  void act();  // one thing

 private:
  struct Live {
    v4infer::Session session;
    int story = 0;
    std::int64_t size = 0;  // tokens of the story
  };
  std::int64_t some(std::int64_t below) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(below));
  }
  v4i_session_options options();
  Live& any() {
    return live_[static_cast<std::size_t>(some(static_cast<std::int64_t>(live_.size())))];
  }
  // True: it worked.  False: no memory, which is said and counted.
  bool worked(const v4infer::Error& e, const char* what);
  void begin();
  void extend(Live& l);
  void prefill(Live& l);
  void step(Live& l);
  void step_several();
  void fork(Live& l);
  void save_and_restore(Live& l);
  void rewind(Live& l);
  void said(Live& l, const v4i_step& step);
  void check_size(Live& l);
  void drop();
  void drop_longer();

  const v4infer::Model& model_;
  const Truth& truth_;
  v4i_kv_store* store_;
  std::string file_;
  std::uint32_t vocab_;
  std::mt19937_64 random_;
  std::uint64_t seed_;
  Counts& counts_;
  std::vector<Live> live_;
};

}  // namespace v4i::soak
