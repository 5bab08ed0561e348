// Session: one mutable timeline of tokens and its KV state.
//
// tokens()    everything appended or sampled
// position()  how many of them the KV state has seen; the rest is pending
//
// append*() only queues.  prefill() computes what is pending; step() computes,
// samples one token and appends it (so it is pending until the next call).  After
// any Error a session is as good as before: step() has changed no token, prefill()
// keeps the chunks that were complete.
//
// What a session computes depends on its tokens, its sampler and its seed alone:
// not, in a single bit, on chunks, threads, batches, or on having been forked,
// rewound, saved and restored on the way.
//
// One thread at a time (lib/capi answers BUSY to the second).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/forward/profile.h"
#include "lib/kv/state.h"
#include "lib/sampling/sampler.h"
#include "lib/session/context.h"
#include "lib/session/draft.h"
#include "lib/session/image.h"
#include "lib/tokenizer/utf8.h"

namespace v4i::session {

enum class Finish : int { kNone = 0, kEos = 1, kStop = 2, kLength = 3, kCancelled = 4 };

struct SessionOptions {
  std::int64_t context_size = 0;  // 0 = the context's maximum
  std::uint64_t seed = 0;
  bool profile = false;  // keep a forward::Profile of this session's runs
  // restore(): a session that was saved by another backend or in other numerics is taken by its
  // tokens, which are then pending; nothing behind them is read.
  bool recompute = false;
  // Bounded replay of prompts (V4.1): of a prompt's tokens but the last sliding_window ones, only
  // what later tokens read of them is computed, by the first half of the layers.  Half the time,
  // and the logits are close to the full ones, not equal.  Error(kUnsupported) for other models.
  bool replay = false;
  // Where its KV blocks go besides memory, fast to slow.  None: what the context has (OpenOptions).
  Tiers tiers;
};

// Prefill progress: tokens done of total; return true to cancel.  Called after each
// chunk, never while the compute lock is held.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

struct RunOptions {
  const CancelFlag* cancel = nullptr;
  Progress progress;
  int chunk_tokens = 0;  // 0, or above it, = the context's batch size
  // Of a step(), and of what generate() computes together: 2 and more allow drafts (draft.h), which
  // need memory of the Budget and a model with an MTP block (then 2) or DSpark's stages (up to its
  // block size and 1); without either there are none.  Not of step_many().  In a prefill() it lets
  // DSpark see the end of the prompt.
  int max_tokens = 1;
};

struct Step {  // valid until the next call on the session
  Finish finish = Finish::kNone;
  std::int32_t token = -1;  // the last of them
  std::string_view text;    // complete UTF-8 only; empty without a tokenizer and for EOS
  float logprob = 0;        // of the last token
  std::span<const std::int32_t> tokens{};
  std::uint32_t drafted = 0, accepted = 0;  // tokens that were guessed, those that were right
};

struct GenerateOptions {
  std::int64_t max_tokens = 0;  // 0 = until the context is full
  // Any of these in the text ends it; the text is cut before it, the tokens stay.
  std::vector<std::string> stop;
  // Step::text is held back while it may be the beginning of a stop string; the
  // texts of all steps make up what generate() returns.
  std::function<bool(const Step&)> on_step;  // of each token; true stops, with Finish::kCancelled
};

// What a session's runs looked up; a batch of several sessions counts whole in each.
struct Lookups {
  // Rows of indexed layers that attention read while some of them were not in memory, those that
  // were brought for it, and the wait for the KV stores.
  std::uint64_t kv_rows = 0, kv_row_loads = 0, kv_wait_ns = 0;
  // Experts that tokens were routed to, once a layer and run, and what of them was read from the
  // files; 0 where experts are mapped.
  std::uint64_t expert_uses = 0, expert_loads = 0, expert_load_bytes = 0;
  // Rows of n-gram tables that tokens selected, those of them that were in memory, bytes read of
  // the files; gates, and how many they were.
  std::uint64_t engram_rows = 0, engram_hits = 0, engram_bytes = 0, engram_gate_count = 0;
  double engram_gate_sum = 0;
};

struct Metrics {
  // Decode: tokens computed by steps that found one pending token, sampling included.
  // Prefill: all others.
  std::uint64_t prefill_tokens = 0, decode_tokens = 0;
  std::uint64_t prefill_ns = 0, decode_ns = 0;
  // From the first prefill() or step() after an append to its first sampled token.
  std::uint64_t first_token_ns = 0;
  // Tokens whose KV rows another session or process had left, and tokens computed a second time
  // because a store had lost theirs.  Neither is in the counts above.
  std::uint64_t taken_up_tokens = 0, replayed_tokens = 0;
  std::uint64_t drafted = 0, accepted = 0;
  Lookups lookups;
};

class Session {
 public:
  // Error(kInvalid) for a context size out of range, kNoMemory.
  Session(std::shared_ptr<Context> context, const SessionOptions& options);

  Context& context() { return *context_; }
  const Context& context() const { return *context_; }
  std::span<const std::int32_t> tokens() const { return tokens_; }
  std::int64_t position() const { return state_.length() - ahead_; }
  std::int64_t pending() const { return size() - position(); }
  std::int64_t context_size() const { return options_.context_size; }
  Finish finish() const { return finish_; }
  // By the last sync(), and taken up from others since.
  std::uint64_t reused_tokens() const { return reused_; }
  std::uint64_t kv_bytes() const { return state_.bytes(); }
  std::uint64_t stored_bytes() const { return state_.stored_bytes(); }
  const Metrics& metrics() const { return metrics_; }
  // Of this session's runs, a batch of several counting whole in each; null when the
  // options asked for none.
  const forward::Profile* profile() const { return options_.profile ? &profile_ : nullptr; }

  // kInvalid for an id outside the vocabulary and for the id that stands for an image (its image
  // is missing: append_media()), kContextFull; nothing is appended then.
  void append(std::span<const std::int32_t> tokens);
  void append_text(std::string_view text, bool add_bos, bool parse_special);
  // Makes the timeline equal `tokens`; returns how many need no computing.  In the part that is
  // kept, ids of an image's span stay those of the image that is there.
  std::size_t sync(std::span<const std::int32_t> tokens);

  // ---- images.cc.  An image takes as many tokens as its plan says (media/image_plan.h), at most
  // `max_tokens` where that is not 0.  Error(kUnsupported) for a model without an image tower,
  // kInvalid, kNoMemory.
  std::shared_ptr<Image> make_image(const media::Pixels& pixels, std::int64_t max_tokens = 0);
  // Of a PNG, JPEG or WebP file; `width` and `height`: 0, or what its header must say.  Errors of
  // media::ImageFiles too.
  std::shared_ptr<Image> make_image_from_file(std::span<const std::uint8_t> file,
                                              std::int64_t width, std::int64_t height,
                                              std::int64_t max_tokens = 0);
  std::shared_ptr<Image> make_patches(std::int64_t grid_height, std::int64_t grid_width,
                                      std::span<const float> patches, std::int64_t max_tokens = 0);
  // `tokens` with each id that stands for an image replaced by the span of the next of `images`.
  // Error(kInvalid) where there are not as many of both, and for ids outside the vocabulary.
  void check_prompt(std::span<const std::int32_t> tokens, std::size_t images) const;
  Prompt prompt(std::span<const std::int32_t> tokens,
                std::span<const std::shared_ptr<Image>> images) const;
  // As those of tokens; kept is what has the same tokens and the same images.
  void append_media(const Prompt& prompt);
  std::size_t sync_media(Prompt prompt);
  void eval_media(const Prompt& prompt, float* logits, const RunOptions& options);
  void append_image(const media::Pixels& pixels);
  // Its pixels, where the model takes an image of that size; appends nothing.
  media::DecodedImage decode_image_file(std::span<const std::uint8_t> file, std::int64_t width,
                                        std::int64_t height) const;
  void append_patches(std::int64_t grid_height, std::int64_t grid_width,
                      std::span<const float> patches);
  // Keeps the first `position` tokens.  The last one is computed again (by the next
  // prefill() or step()) unless its logits are still there.
  void rewind(std::int64_t position);
  std::unique_ptr<Session> fork() const;  // same tokens, seed, sampler; KV copy-on-write
  // Tokens, seed, KV state, and logits when there are; not the sampler.  Everything
  // has a checksum.  restore() refuses damage and other format versions (kFormat),
  // another model, and unless options say `recompute` other numerics or another backend
  // (kUnsupported).  save() may compute, and so wait, when a
  // store has lost blocks of the session; kState when one is lost while it writes: save again.  The
  // seed is the saved one.
  void save(const kv::WriteBytes& write);
  static std::unique_ptr<Session> restore(std::shared_ptr<Context> context,
                                          const SessionOptions& options, const kv::ReadBytes& read);

  // Null: the default, temperature 1 and nothing else.
  void set_sampler(std::shared_ptr<const sampling::Sampler> sampler);
  void prefill(const RunOptions& options);
  // kState when there is nothing to continue: no token yet, or the text has ended
  // with EOS and nothing was appended since; kContextFull when no room is left.
  Step step(const RunOptions& options);
  // Steps until a finish.  An Error (kCancelled included) keeps the tokens that were
  // complete.  After kStop, kLength and kCancelled the next call goes on.
  std::string generate(const GenerateOptions& options, const RunOptions& run, Finish* finish);
  // Appends `tokens`, computes them and gives the logits after each: [n, vocab].
  // After an Error the tokens are those of before.
  void eval(std::span<const std::int32_t> tokens, float* logits, const RunOptions& options);

  // Of the last computed token; kState when there are none, which is so until
  // something was computed, and after a cancelled prefill().
  std::span<const float> logits() const;

 private:
  friend class Scheduler;
  using Clock = std::chrono::steady_clock;

  Session(std::shared_ptr<Context> context, const SessionOptions& options,
          std::shared_ptr<store::BlockCache> cache);
  Session(std::shared_ptr<Context> context, const SessionOptions& options,
          std::shared_ptr<store::BlockCache> cache, kv::State state);
  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  std::int32_t vocab() const { return static_cast<std::int32_t>(context_->vocab()); }
  bool has_logits() const { return logits_at_ > 0 && logits_at_ == position(); }

  // ---- images.cc
  void append(std::shared_ptr<Image> image);
  std::shared_ptr<Image> known(std::shared_ptr<Image> image);  // or the one with its content
  void check_images() const;
  void check_no_placeholder(std::span<const std::int32_t> tokens, std::int64_t first) const;
  // Of an image file, once the model takes an image of its size.
  media::ImageHeader read_header(std::span<const std::uint8_t> file, std::int64_t width,
                                 std::int64_t height) const;
  void check_room(std::int64_t tokens) const;
  void appended();  // the end of tokens_ has
  void cut_images(std::int64_t tokens);
  std::int64_t same_as(const Prompt& prompt) const;  // tokens from the beginning on
  // Embeddings of the images that the next `n` tokens have a part of.
  void encode_images(std::int64_t n, const CancelFlag* cancel);
  void place_images(forward::Item* item);
  std::vector<kv::Media> media_before(std::int64_t end) const;
  void save_images(const kv::WriteBytes& write);
  void read_images(const kv::ReadBytes& read);

  void check_tokens(std::span<const std::int32_t> tokens) const;
  void check_context(std::size_t tokens) const;  // of the whole timeline
  void eval_appended(std::int64_t before, float* logits, const RunOptions& options);
  void check_can_step() const;
  void reserve(std::int64_t tokens);
  // Keeps `tokens` tokens and at most `computed` of the KV state's.
  void cut(std::int64_t tokens, std::int64_t computed);
  void restart_text();

  int chunk_size(const RunOptions& options) const;
  // The next `n` pending tokens as a share of a batch.
  forward::Item item(std::int64_t n, float* logits, bool all_logits);
  // After the batch: which logits are there now.
  void computed(std::int64_t tokens, bool logits, bool decode, Clock::time_point start);
  void compute(std::int64_t n, float* logits, bool all_logits, bool decode,
               const RunOptions& options);
  void compute_pending(bool decode, const RunOptions& options);
  // Begins an empty session with rows that others have left of its first tokens.
  void take_up(const CancelFlag* cancel);
  // Computes the rows again that a store has lost, and all behind them.  Error: position() is less
  // than before, the tokens are pending.
  class Losses;  // of one call
  void replay(const CancelFlag* cancel, Losses& losses);
  void make_whole();  // waits until every row is there or computed again
  // One run for shares of sessions of one context, with replays where rows are lost.
  static void run(std::span<Session* const> sessions, std::span<const forward::Item> items,
                  const CancelFlag* cancel, forward::Profile* profile);
  class Looking;              // adds what a run looks up to its sessions' metrics
  Lookups looked_up() const;  // by everybody, so far: under the compute lock
  std::int64_t window() const { return context_->model().config().window; }
  forward::Item rows_item(std::int64_t n);  // item() with rows_only
  // Pending tokens of which only rows are computed, where the session replays prompts.
  std::int64_t rows_ahead() const {
    return options_.replay ? std::max<std::int64_t>(0, pending() - window()) : 0;
  }
  void compute_rows(std::int64_t most, const RunOptions& options);  // of one chunk of them
  void open_turn();                                                 // the clock of first_token_ns
  // Hears of every sampled token; true: no more are wanted.
  using OnToken = std::function<bool(const Step&)>;
  Step step_some(const RunOptions& options, std::int64_t most, const OnToken& on_token);
  Step sample_next();                        // nothing is pending
  Step draw(std::span<const float> logits);  // the next token
  // ---- drafted.cc
  bool make_draft(std::int64_t most);  // false: there can be none
  template <class Body>
  void draft_turn(const CancelFlag* cancel, Body&& body);
  void show_draft(std::int64_t first, std::int64_t n, forward::Item* item,
                  const CancelFlag* cancel);
  Step step_drafted(const RunOptions& options, std::int64_t most, const OnToken& on_token);
  std::span<const std::int32_t> guess(std::int64_t most, const CancelFlag* cancel);
  void run_drafted(std::span<const std::int32_t> guessed, const RunOptions& options);
  Step draw_drafted(std::span<const std::int32_t> guessed, const OnToken& on_token);
  void take_back();
  void keep_logits(std::span<const float> logits);  // as those of position()

  std::shared_ptr<Context> context_;
  std::shared_ptr<store::BlockCache> cache_;
  SessionOptions options_;
  std::vector<std::int32_t> tokens_;
  std::vector<Placed> images_;  // rising, apart
  std::vector<kv::Media> item_media_;
  std::vector<forward::MediaRows> item_rows_;  // of the share of a batch in work
  kv::State state_;
  std::shared_ptr<const sampling::Sampler> sampler_;
  sampling::Scratch scratch_;
  Buffer<float> logits_;         // [vocab]
  std::int64_t logits_at_ = -1;  // the position() they belong to
  Finish finish_ = Finish::kNone;
  std::uint64_t reused_ = 0;
  Metrics metrics_;
  Lookups before_;  // looked_up() when its run began
  forward::Profile profile_;
  std::unique_ptr<Draft> draft_;  // from the first step that may have drafts
  std::string drafted_text_;      // of a step
  std::int64_t ahead_ = 0;        // of state_: guesses that are not yet known to be right
  bool awaiting_first_ = true;    // no token sampled since the last append
  std::optional<Clock::time_point> turn_start_;
  // The text of sampled tokens since the last appended one: a character may span
  // several of them, never an appended one.
  std::int64_t text_from_ = 0;
  tokenizer::Utf8Stream stream_;
  std::string text_;  // backs Step::text
};

// One batched step over sessions of one context.  status[i] is Code::kOk or why
// session i did not step; out[i] is meaningful when it did.  What is pending of long
// prompts is computed first.  Results equal stepping each alone, and one session's
// failure does not touch the others; a cancel stops all that have not stepped.
// Error(kInvalid) when a session is null, there twice or of another context.
void step_many(std::span<Session* const> sessions, const RunOptions& options, std::span<Step> out,
               std::span<Code> status, std::vector<std::string>* messages);

}  // namespace v4i::session
