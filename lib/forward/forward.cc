// The skeleton of a run.  Spec 2.2:
//
//   streams = embedding, copied n times
//   per layer:  x = norm(pre(streams));  streams = post(attention(x), streams)
//               x = norm(pre(streams));  streams = post(moe(x), streams)
//   logits = head(norm(collapse(streams)))
#include "lib/forward/forward.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/forward/layouts.h"

namespace v4i::forward {

namespace {

// Router biases of a token that is no text, and sight of what follows it, belong to models of
// the family that have a place for them in their plan.
void check_token(const model::Model& m, const Token& t) {
  const model::Config& c = m.config();
  if (t.role != 0 && t.role >= m.plan().layers.back().router_biases)
    fail(Code::kUnsupported, "{}: a token asks for router bias {}, the model has one for text only",
         m.path(), t.role);
  if (t.visible_end > t.position + 1)
    fail(Code::kUnsupported,
         "{}: the token at position {} sees ahead to {}; attention of this model is causal",
         m.path(), t.position, t.visible_end);
  if (t.id < 0 || t.id >= c.vocab)
    fail(Code::kInvalid, "token id {} is outside the vocabulary of {}", t.id, c.vocab);
  if (t.position >= c.max_positions)
    fail(Code::kContextFull, "position {} is beyond the model's {} positions", t.position + 1,
         c.max_positions);
}

// Rows alone are what a model has whose late layers read the rows of an earlier one.
void check_rows_only(const model::Model& m, std::span<const Item> items) {
  for (const Item& i : items) {
    V4I_CHECK(i.rows_only == items[0].rows_only);
    if (i.rows_only) V4I_CHECK(m.plan().outputs_from > 0 && output_tokens(i, true) == 0);
  }
}

// No media span may reach out of its item's tokens.
void check_media(const Item& item) {
  V4I_CHECK(item.media.size() == item.media_rows.size());
  std::int64_t end = 0;
  for (std::size_t m = 0; m < item.media.size(); ++m) {
    const kv::Media& media = item.media[m];
    V4I_CHECK(media.first >= end && media.count > 0 && item.media_rows[m].rows != nullptr);
    end = media.first + media.count;
    V4I_CHECK(end <= static_cast<std::int64_t>(item.tokens.size()));
  }
}

bool has_taps_after_last(const model::Model& m) {
  const std::vector<int>& taps = m.config().dspark_target_layers;
  return m.plan().draft.mhc == model::MhcKind::kSameSite &&
         std::find(taps.begin(), taps.end(), m.config().layers - 1) != taps.end();
}

Lookups with_experts(const std::shared_ptr<const model::Model>& model, Lookups lookups) {
  if (lookups.experts == nullptr) lookups.experts = experts::mapped_experts(model);
  return lookups;
}

}  // namespace

Forward::Forward(std::shared_ptr<const model::Model> model, Backend& backend,
                 const Options& options, Lookups lookups)
    : model_(std::move(model)),
      options_(options),
      taps_after_last_(has_taps_after_last(*model_)),
      layout_(make_layout(model_->config(), model_->plan(), options)),
      draft_layout_(make_draft_layout(model_->config(), model_->plan(), options)),
      executor_(backend.open(model_, with_experts(model_, std::move(lookups)), options)),
      all_(options.max_tokens),
      outputs_(options.max_tokens) {
  if (backend.reads_single_rows()) layout_.row_reads = row_reads(model_->config());
  const auto n = static_cast<std::size_t>(options.max_tokens);
  states_.reserve(n);
  rows_.reserve(n);
  block_.assign(static_cast<std::size_t>(model_->config().dspark_block_size),
                model_->config().dspark_noise_token);
}

Forward::~Forward() = default;

void Executor::encode_image(std::int64_t, std::int64_t, const float*, float*, const CancelFlag*) {
  fail(Code::kUnsupported, "this backend does not encode images; backend \"cpu\" does");
}

// Checks the batch and lays its tokens out, item after item.
void Forward::set_batch(std::span<const Item> items) {
  std::size_t total = 0;
  for (const Item& i : items) {
    total += i.tokens.size();
    check_media(i);
    V4I_CHECK(i.taps == nullptr || (i.tap_tokens > 0 && i.tap_tokens <= std::ssize(i.tokens)));
    if (i.taps != nullptr) check_dspark();
  }
  check_rows_only(*model_, items);
  V4I_CHECK(total > 0 && total <= static_cast<std::size_t>(options_.max_tokens));
  all_.set(items, model_->config().width);
  for (const Token& t : all_.tokens()) check_token(*model_, t);
  states_.clear();
  for (const Item& i : items) states_.push_back(i.state);
}

// Runs `body` with every state begun; commits all, or puts all back.
template <class Body>
void Forward::in_chunk(std::span<const Item> items, Body&& body) {
  std::size_t begun = 0;
  try {
    for (; begun < items.size(); ++begun)
      items[begun].state->begin(items[begun].tokens, items[begun].media);
    body();
    for (const Item& i : items) i.state->close(!i.rows_only);
  } catch (...) {
    executor_->abandon();
    for (std::size_t i = 0; i < begun; ++i) items[i].state->abort();
    throw;
  }
  for (const Item& i : items) i.state->commit(!i.rows_only);
}

void Forward::layer(Layer which, const Batch& out, const CancelFlag* cancel) {
  throw_if_cancelled(cancel);
  executor_->layer(which, all_, out, kv::Lease(states_, which.index, cancel));
}

void Forward::run(std::span<const Item> items, const CancelFlag* cancel, Profile* profile) {
  set_batch(items);
  in_chunk(items, [&] {
    executor_->begin(all_, {}, profile);
    outputs_.set_outputs_of(all_, taps_after_last_);
    const auto last = items[0].rows_only ? model_->plan().outputs_from
                                         : static_cast<int>(model_->config().layers) - 1;
    for (int l = 0; l <= last; ++l) layer({l, false}, l == last ? outputs_ : all_, cancel);
    throw_if_cancelled(cancel);
    emit(cancel);
    executor_->finish();
  });
}

// Streams and logits that the items asked for, from the tokens with outputs.
void Forward::emit(const CancelFlag* cancel) {
  std::int64_t first = 0;
  rows_.clear();
  for (const Item& item : all_.items()) {
    const std::int64_t n = output_tokens(item, taps_after_last_), wanted = logits_tokens(item);
    if (item.hidden != nullptr) executor_->streams(first, n, item.hidden, nullptr);
    for (std::int64_t t = 0; t < wanted; ++t)
      rows_.push_back({first + n - wanted + t, item.logits + t * model_->config().vocab});
    first += n;
  }
  head(false, cancel);
}

void Forward::head(bool draft, const CancelFlag* cancel) {
  const auto step = static_cast<std::size_t>(executor_->head_rows());
  for (std::size_t i = 0; i < rows_.size(); i += step) {
    throw_if_cancelled(cancel);
    executor_->head(draft, std::span(rows_).subspan(i, std::min(step, rows_.size() - i)));
  }
}

void Forward::run_layers(int first, int last, kv::State& state,
                         std::span<const std::int32_t> tokens, const Visit& visit) {
  const Item item{&state, tokens};
  set_batch({&item, 1});
  const model::Config& c = model_->config();
  const bool lagged = model_->plan().draft.mhc == model::MhcKind::kLagged;
  const auto n = static_cast<std::size_t>(all_.n() * c.hc_mult);
  std::vector<float> streams(n * static_cast<std::size_t>(c.width)), pre(lagged ? n : 0);
  float* pre_data = lagged ? pre.data() : nullptr;
  state.begin(tokens);
  try {
    for (int l = first; l < last; ++l) {
      visit(l, streams, pre);
      executor_->begin(all_, {streams.data(), pre_data}, nullptr);
      layer({l, false}, all_, nullptr);
      executor_->streams(0, all_.n(), streams.data(), pre_data);
      executor_->finish();
    }
    visit(last, streams, pre);
  } catch (...) {
    executor_->abandon();
    state.abort();
    throw;
  }
  state.abort();
}

void Forward::run_mtp(kv::State& state, std::span<const std::int32_t> next_tokens,
                      const float* hidden, float* out, const CancelFlag* cancel) {
  if (model_->weights().mtp.empty())
    fail(Code::kUnsupported, "{}: the checkpoint has no mtp.0 block", model_->path());
  const Item item{&state, next_tokens};
  set_batch({&item, 1});
  in_chunk({&item, 1}, [&] {
    executor_->begin_draft(all_, hidden);
    layer({0, true}, all_, cancel);
    rows_.clear();
    for (std::int64_t t = 0; t < all_.n(); ++t)
      rows_.push_back({t, out + t * model_->config().vocab});
    head(true, cancel);
    executor_->finish();
  });
}

// ---- DSpark

bool Forward::has_dspark() const { return model_->has_dspark() && executor_->has_dspark(); }

void Forward::check_dspark() const {
  if (!model_->has_dspark())
    fail(Code::kUnsupported, "{}: the checkpoint has no DSpark stages", model_->path());
  if (!executor_->has_dspark())
    fail(Code::kUnsupported, "{}: DSpark drafts are there on backend \"cpu\" only; this is {}",
         model_->path(), executor_->identity());
}

void Forward::feed_dspark(kv::State& state, std::span<const std::int32_t> tokens, const float* taps,
                          const CancelFlag* cancel) {
  check_dspark();
  const Item item{&state, tokens};
  set_batch({&item, 1});
  in_chunk({&item, 1}, [&] {
    throw_if_cancelled(cancel);
    executor_->feed_dspark(all_, taps);
    executor_->finish();
  });
}

// The state has begun no chunk: the block's rows are nowhere but in the executor.
void Forward::run_dspark(kv::State& state, std::int32_t token, const Guesses& out,
                         const CancelFlag* cancel) {
  check_dspark();
  block_[0] = token;
  const Item item{&state, block_};
  set_batch({&item, 1});
  try {
    executor_->begin_dspark(all_);
    for (int s = 0; s < model_->plan().draft_stages; ++s) layer({s, true}, all_, cancel);
    throw_if_cancelled(cancel);
    executor_->guess_dspark(out);
    executor_->finish();
  } catch (...) {
    executor_->abandon();
    throw;
  }
}

}  // namespace v4i::forward
