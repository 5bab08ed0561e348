// Scheduler: one step of several sessions in shared batches.
//
//   1  what is pending of every prompt but its last token, in batches filled from
//      one session after the other
//   2  the last pending token of every session, in one batch (or as few as fit)
//   3  a token sampled for each
//
// A failing batch leaves every session as it was, but for one whose lost rows could not be computed
// again: that one has more pending.  The batch is then repeated session by
// session, so that the one at fault is found and the others go on.  Lives for one
// step_many() call; one thread.
#pragma once

#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "lib/session/session.h"

namespace v4i::session {

class Scheduler {
 public:
  // Error(kInvalid) when a session is null, there twice or of another context.
  Scheduler(std::span<Session* const> sessions, const RunOptions& options);

  void step(std::span<Step> out, std::span<Code> status, std::vector<std::string>* messages);

 private:
  struct Seat {
    Session* session = nullptr;
    bool decode = false;  // came with one pending token
    Code status = Code::kOk;
    std::string message;
    bool live() const { return status == Code::kOk; }
  };
  struct Share {
    Seat* seat = nullptr;
    std::int64_t tokens = 0;
    std::int64_t position = 0;  // of the session, when the batch was made
  };

  void prepare();
  void compute_prompts();
  void compute_last();
  bool gather_prompts(std::vector<Share>* batch);
  void run(std::span<const Share> batch, bool logits);
  void forward(std::span<const Share> batch, bool logits);
  void fail_live(Code code, const std::string& message);
  // Runs body; what it throws becomes the seat's status.
  template <class Body>
  static void guard(Seat* seat, Body&& body);

  const RunOptions& options_;
  std::vector<Seat> seats_;
  std::vector<Session*> sessions_;  // of a batch, and their shares
  std::vector<forward::Item> items_;
  int chunk_ = 0, batch_ = 0;  // tokens at most: of a session in a batch, of a batch
};

}  // namespace v4i::session
