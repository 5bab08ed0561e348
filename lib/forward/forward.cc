// The skeleton of a run.  Spec 2.2:
//
//   streams = embedding, copied n times
//   per layer:  x = norm(pre(streams));  streams = post(attention(x), streams)
//               x = norm(pre(streams));  streams = post(moe(x), streams)
//   logits = head(norm(collapse(streams)))
#include "lib/forward/forward.h"

#include <algorithm>
#include <cstring>

#include "lib/base/thread_pool.h"
#include "lib/forward/pass.h"
#include "lib/forward/shapes.h"

namespace v4i::forward {

struct Forward::Impl {
  std::shared_ptr<const model::Model> model;
  ThreadPool& pool;
  Options options;
  kv::Layout layout, draft_layout;
  std::vector<float> freq_a, freq_b;
  Workspace workspace;
  Pass pass;
  std::vector<HeadRow> head_rows;

  Impl(std::shared_ptr<const model::Model> m, const kernels::KernelTable& kernels, ThreadPool& p,
       Budget& budget, const Options& o)
      : model(std::move(m)),
        pool(p),
        options(o),
        layout(make_layout(*model, o.numerics)),
        draft_layout(make_draft_layout(*model, o.numerics)),
        freq_a(rope_frequencies(model->config(), false)),
        freq_b(rope_frequencies(model->config(), true)),
        workspace(model->config(), layout, o.max_tokens, p.size(), budget),
        pass{*model,
             model->config(),
             kernels,
             p,
             workspace,
             o.numerics != Numerics::kExact,
             o.numerics == Numerics::kFast,
             freq_a,
             freq_b,
             {},
             {},
             {},
             {},
             {},
             false,
             nullptr} {
    const auto n = static_cast<std::size_t>(o.max_tokens);
    pass.tokens.reserve(n);
    pass.new_rows.reserve(n);
    pass.first_token.reserve(n);
    pass.outputs.reserve(n);
    head_rows.reserve(n);
  }

  void set_batch(std::span<const Item> items);
  void embed_tokens();
  void block(const model::Block& b, const model::LayerPlan& plan, int kv_layer);
  void set_outputs();
  void emit(std::span<const Item> items);
  template <class Body>
  void in_chunk(std::span<const Item> items, Body&& body);
};

// Checks the batch and lays its tokens out, item after item.
void Forward::Impl::set_batch(std::span<const Item> items) {
  std::size_t total = 0;
  for (const Item& i : items) total += i.tokens.size();
  V4I_CHECK(total <= static_cast<std::size_t>(options.max_tokens));
  pass.items = items;
  pass.last_layer = false;
  pass.tokens.clear();
  pass.first_token.clear();
  for (std::size_t i = 0; i < items.size(); ++i) {
    pass.first_token.push_back(static_cast<std::int32_t>(pass.tokens.size()));
    std::int64_t position = items[i].state->length();
    for (std::int32_t id : items[i].tokens) {
      if (id < 0 || id >= model->config().vocab)
        fail(Code::kInvalid, "token id {} is outside the vocabulary of {}", id,
             model->config().vocab);
      pass.tokens.push_back({static_cast<std::int32_t>(i), id, position++,
                             static_cast<std::int32_t>(pass.tokens.size())});
    }
    if (position > model->config().max_positions)
      fail(Code::kContextFull, "position {} is beyond the model's {} positions", position,
           model->config().max_positions);
  }
}

// Runs `body` with every state begun; commits all, or puts all back.
template <class Body>
void Forward::Impl::in_chunk(std::span<const Item> items, Body&& body) {
  std::size_t begun = 0;
  try {
    for (; begun < items.size(); ++begun) items[begun].state->begin(items[begun].tokens);
    body();
  } catch (...) {
    for (std::size_t i = 0; i < begun; ++i) items[i].state->abort();
    throw;
  }
  for (const Item& i : items) i.state->commit();
}

void Forward::Impl::embed_tokens() {
  const std::int64_t n = model->config().hc_mult, d = model->config().width;
  for (const Item& i : pass.items)
    model->touch_embedding(i.tokens.data(), static_cast<int>(i.tokens.size()));
  pool.run(pass.n(), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* streams = workspace.streams.data() + t * n * d;
      embed(pass, pass.tokens[static_cast<std::size_t>(t)].id, streams);
      for (std::int64_t k = 1; k < n; ++k) std::copy_n(streams, d, streams + k * d);
    }
  });
}

void Forward::Impl::block(const model::Block& b, const model::LayerPlan& plan, int kv_layer) {
  Workspace& w = workspace;
  hyper_pre(pass, b.hc_attn, w.x.data());
  pass.mark(model::Part::kHyper);
  norm(pass, w.x.data(), b.attn_norm, pass.n(), w.x.data());
  pass.mark(model::Part::kNorm);
  attention(pass, b.attn, plan, kv_layer);
  if (pass.n() == 0) return;  // a prompt's last layer without outputs
  hyper_pre(pass, b.hc_ffn, w.x.data(), w.out.data());
  pass.mark(model::Part::kHyper);
  norm(pass, w.x.data(), b.ffn_norm, pass.n(), w.x.data());
  pass.mark(model::Part::kNorm);
  moe(pass, b.ffn, plan);
  hyper_post(pass, w.out.data());
  pass.mark(model::Part::kHyper);
}

// How many of an item's last tokens have outputs.
std::int64_t output_tokens(const Item& item) {
  const auto n = static_cast<std::int64_t>(item.tokens.size());
  if (item.hidden != nullptr || (item.logits != nullptr && item.all_logits)) return n;
  return item.logits != nullptr ? std::min<std::int64_t>(n, 1) : 0;
}

void Forward::Impl::set_outputs() {
  pass.outputs.clear();
  for (std::size_t i = 0; i < pass.items.size(); ++i) {
    const std::int32_t end =
        pass.first_token[i] + static_cast<std::int32_t>(pass.items[i].tokens.size());
    for (auto t = end - static_cast<std::int32_t>(output_tokens(pass.items[i])); t < end; ++t)
      pass.outputs.push_back(t);
  }
}

// Streams and logits that the items asked for, from the tokens of `outputs`.
void Forward::Impl::emit(std::span<const Item> items) {
  const std::int64_t width = model->config().hc_mult * model->config().width;
  std::int64_t first = 0;
  head_rows.clear();
  for (const Item& item : items) {
    const std::int64_t n = output_tokens(item);
    if (item.hidden != nullptr)
      std::memcpy(item.hidden, workspace.streams.data() + first * width,
                  sizeof(float) * static_cast<std::size_t>(n * width));
    const std::int64_t wanted = item.logits == nullptr ? 0
                                : item.all_logits      ? n
                                                       : std::min<std::int64_t>(n, 1);
    for (std::int64_t t = 0; t < wanted; ++t)
      head_rows.push_back({first + n - wanted + t, item.logits + t * model->config().vocab});
    first += n;
  }
  if (head_rows.empty()) return;
  logits(pass, model->weights().hc_head, model->weights().norm, head_rows);
  pass.mark(model::Part::kHead);
}

Forward::Forward(std::shared_ptr<const model::Model> model, const kernels::KernelTable& kernels,
                 ThreadPool& pool, Budget& budget, const Options& options) {
  check_shapes(*model);
  if (options.numerics == Numerics::kFast) check_fast(*model, kernels);
  impl_ = std::make_unique<Impl>(std::move(model), kernels, pool, budget, options);
}

Forward::~Forward() = default;

const model::Model& Forward::model() const { return *impl_->model; }
const Options& Forward::options() const { return impl_->options; }
const kv::Layout& Forward::layout() const { return impl_->layout; }
const kv::Layout& Forward::draft_layout() const { return impl_->draft_layout; }
std::size_t Forward::workspace_bytes() const { return impl_->workspace.bytes(); }

void Forward::run(std::span<const Item> items, const CancelFlag* cancel, Profile* profile) {
  Impl& f = *impl_;
  f.set_batch(items);
  f.pass.profile = profile;
  f.pool.count_busy(profile != nullptr);
  if (profile != nullptr) profile->begin(f.pool);
  f.in_chunk(items, [&] {
    fill_rope(f.pass);
    f.embed_tokens();
    f.pass.mark(model::Part::kEmbedding);
    f.set_outputs();
    const auto layers = static_cast<int>(f.model->config().layers);
    for (int l = 0; l < layers; ++l) {
      throw_if_cancelled(cancel);
      f.pass.last_layer = l == layers - 1;
      f.block(f.model->weights().layers[static_cast<std::size_t>(l)],
              f.model->plan().layers[static_cast<std::size_t>(l)], l);
    }
    throw_if_cancelled(cancel);
    f.emit(items);
  });
  if (profile != nullptr) profile->end(f.pass, static_cast<std::int64_t>(f.head_rows.size()));
}

void Forward::run_layer(int layer, kv::State& state, std::span<const std::int32_t> tokens,
                        float* streams) {
  Impl& f = *impl_;
  const Item item{&state, tokens};
  const auto bytes = sizeof(float) * tokens.size() *
                     static_cast<std::size_t>(f.model->config().hc_mult * f.model->config().width);
  f.set_batch({&item, 1});
  f.pass.profile = nullptr;
  state.begin(tokens);
  try {
    fill_rope(f.pass);
    std::memcpy(f.workspace.streams.data(), streams, bytes);
    f.block(f.model->weights().layers[static_cast<std::size_t>(layer)],
            f.model->plan().layers[static_cast<std::size_t>(layer)], layer);
    std::memcpy(streams, f.workspace.streams.data(), bytes);
  } catch (...) {
    state.abort();
    throw;
  }
  state.abort();
}

// x_s = e_proj(norm(embedding)) + h_proj(norm(stream s)), one SWA block, own head.
void Forward::run_mtp(kv::State& state, std::span<const std::int32_t> next_tokens,
                      const float* hidden, float* out, const CancelFlag* cancel) {
  Impl& f = *impl_;
  if (f.model->weights().mtp.empty())
    fail(Code::kUnsupported, "{}: the checkpoint has no mtp.0 block", f.model->path());
  const model::Mtp& m = f.model->weights().mtp[0];
  const model::Config& c = f.model->config();
  Workspace& w = f.workspace;
  const Item item{&state, next_tokens};
  f.set_batch({&item, 1});
  f.pass.profile = nullptr;
  const std::int64_t n = f.pass.n(), d = c.width, streams = c.hc_mult;
  f.in_chunk({&item, 1}, [&] {
    throw_if_cancelled(cancel);
    fill_rope(f.pass);
    f.embed_tokens();
    for (std::int64_t t = 0; t < n; ++t)
      std::copy_n(w.streams.data() + t * streams * d, d, w.x.data() + t * d);
    norm(f.pass, w.x.data(), m.enorm, n, w.x.data());
    linear(f.pass, m.e_proj, quantised(f.pass, w.x.data(), n, d, w.xq.data()), d, n, w.out.data(),
           d, true);
    for (std::int64_t s = 0; s < streams; ++s) {
      for (std::int64_t t = 0; t < n; ++t)
        std::copy_n(hidden + (t * streams + s) * d, d, w.x.data() + t * d);
      norm(f.pass, w.x.data(), m.hnorm, n, w.x.data());
      linear(f.pass, m.h_proj, quantised(f.pass, w.x.data(), n, d, w.xq.data()), d, n,
             w.streams.data() + s * d, streams * d, true);
      for (std::int64_t t = 0; t < n; ++t) {
        float* x = w.streams.data() + (t * streams + s) * d;
        for (std::int64_t i = 0; i < d; ++i) x[i] += w.out[static_cast<std::size_t>(t * d + i)];
        f.pass.round(x, d);
      }
    }
    f.block(m.block, f.model->plan().draft, 0);
    f.head_rows.clear();
    for (std::int64_t t = 0; t < n; ++t) f.head_rows.push_back({t, out + t * c.vocab});
    logits(f.pass, m.head, m.norm, f.head_rows);
  });
}

}  // namespace v4i::forward
