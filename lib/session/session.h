// Session: one mutable timeline of tokens and its KV state.
//
// tokens()    everything appended or sampled
// position()  how many of them the KV state has seen; the rest is pending
//
// append*() only queues.  prefill() computes what is pending; step() computes,
// samples one token and appends it (so it is pending until the next call).  After
// kCancelled a session is as good as before: step() has changed no token, prefill()
// keeps the chunks that were complete.
//
// One thread at a time (lib/capi answers BUSY to the second).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/kv/state.h"
#include "lib/sampling/sampler.h"
#include "lib/session/context.h"

namespace v4i::session {

enum class Finish : int { kNone = 0, kEos = 1, kStop = 2, kLength = 3, kCancelled = 4 };

struct SessionOptions {
  std::int64_t context_size = 0;  // 0 = the context's maximum
  std::uint64_t seed = 0;
};

// Prefill progress: tokens done of total; return true to cancel.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

struct RunOptions {
  const CancelFlag* cancel = nullptr;
  Progress progress;
  int chunk_tokens = 0;  // 0 = the context's batch size; results do not depend on it
};

struct Step {  // valid until the next call on the session
  Finish finish = Finish::kNone;
  std::int32_t token = -1;
  std::string_view text;  // complete UTF-8 only
  float logprob = 0;
};

struct GenerateOptions {
  std::int64_t max_tokens = 0;  // 0 = until the context is full
  std::vector<std::string> stop;
  std::function<bool(const Step&)> on_step;  // true stops, with Finish::kCancelled
};

struct Metrics {
  std::uint64_t prefill_tokens = 0, decode_tokens = 0;
  std::uint64_t prefill_ns = 0, decode_ns = 0, first_token_ns = 0;
};

class Session {
 public:
  Session(std::shared_ptr<Context> context, const SessionOptions& options);

  Context& context() { return *context_; }
  std::span<const std::int32_t> tokens() const { return tokens_; }
  std::int64_t position() const;
  std::int64_t pending() const { return static_cast<std::int64_t>(tokens_.size()) - position(); }
  std::int64_t context_size() const { return options_.context_size; }
  Finish finish() const { return finish_; }
  std::uint64_t reused_tokens() const { return reused_; }
  std::uint64_t kv_bytes() const;
  const Metrics& metrics() const { return metrics_; }

  void append(std::span<const std::int32_t> tokens);  // kInvalid, kContextFull
  void append_text(std::string_view text, bool add_bos, bool parse_special);
  // Makes the timeline equal `tokens`; returns how many need no computing.
  std::size_t sync(std::span<const std::int32_t> tokens);
  void rewind(std::int64_t position);  // keeps the first `position` tokens
  std::unique_ptr<Session> fork() const;
  void save(const kv::WriteBytes& write) const;
  static std::unique_ptr<Session> restore(std::shared_ptr<Context> context,
                                          const SessionOptions& options, const kv::ReadBytes& read);

  void set_sampler(std::shared_ptr<sampling::Sampler> sampler);
  void prefill(const RunOptions& options);
  Step step(const RunOptions& options);
  std::string generate(const GenerateOptions& options, const RunOptions& run, Finish* finish);
  // Appends `tokens`, computes them and gives the logits after each: [n, vocab].
  void eval(std::span<const std::int32_t> tokens, float* logits, const RunOptions& options);

  // Of the last computed token; kState when nothing was computed yet.
  std::span<const float> logits() const;

 private:
  friend class Scheduler;
  std::shared_ptr<Context> context_;
  SessionOptions options_;
  std::vector<std::int32_t> tokens_;
  kv::State state_;
  std::shared_ptr<sampling::Sampler> sampler_;
  std::vector<float> logits_;
  bool logits_valid_ = false;
  Finish finish_ = Finish::kNone;
  std::uint64_t reused_ = 0;
  Metrics metrics_;
  std::string text_;  // backs Step::text
};

// One batched step over sessions of one context.  status[i] is Code::kOk or why
// session i did not step; out[i] is meaningful when it did.  A session with a long
// pending prompt is prefilled first.  Results equal stepping each alone.
void step_many(std::span<Session* const> sessions, const RunOptions& options, std::span<Step> out,
               std::span<Code> status, std::vector<std::string>* messages);

}  // namespace v4i::session
