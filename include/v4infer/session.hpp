// session.hpp: Session, Sampler and Cancel of libv4infer, for C++17.
//
//   auto session = v4infer::Session::create(*model);
//   session->append("Once upon a time");
//   for (int i = 0; i < 100; ++i) {
//     auto step = session->step();
//     if (!step || step->finish != V4I_FINISH_NONE) break;
//     std::fwrite(step->text, 1, step->text_len, stdout);
//   }
//
// Rules of ownership, errors and threads: context.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "context.hpp"

namespace v4infer {

// May be signalled from any thread and from a signal handler.
class Cancel : public detail::Handle<v4i_cancel, v4i_cancel_release> {
 public:
  using Handle::Handle;
  static Result<Cancel> create() {
    return detail::make<Cancel, v4i_cancel>(
        [](v4i_cancel** out, v4i_error** err) { return v4i_cancel_create(out, err); });
  }
  void signal() { v4i_cancel_signal(get()); }
  void reset() { v4i_cancel_reset(get()); }
};

class Sampler : public detail::Handle<v4i_sampler, v4i_sampler_release> {
 public:
  using Handle::Handle;
  static Result<Sampler> create(const Model& m, const v4i_sampler_options& o) {
    return detail::make<Sampler, v4i_sampler>([&](v4i_sampler** out, v4i_error** err) {
      return v4i_sampler_create(m.get(), &o, out, err);
    });
  }
  static Result<Sampler> greedy(const Model& m) {
    auto o = init<v4i_sampler_options>();
    o.greedy = 1;
    return create(m, o);
  }
  Error set_bias(const std::vector<v4i_logit_bias>& b) {
    return detail::call(
        [&](v4i_error** err) { return v4i_sampler_set_bias(get(), b.data(), b.size(), err); });
  }
};

using Images = std::vector<v4i_image>;

class Session : public detail::Handle<v4i_session, v4i_session_release> {
 public:
  using Handle::Handle;

  static Result<Session> create(const Model& m,
                                const v4i_session_options& o = init<v4i_session_options>()) {
    return detail::make<Session, v4i_session>([&](v4i_session** out, v4i_error** err) {
      return v4i_session_create(m.get(), &o, out, err);
    });
  }

  // ---- the timeline
  Error append(std::string_view text, std::uint32_t flags = 0) {
    return call([&](v4i_error** err) {
      return v4i_session_append_text(get(), text.data(), text.size(), flags, err);
    });
  }
  Error append(const Tokens& t) {
    return call(
        [&](v4i_error** err) { return v4i_session_append_tokens(get(), t.data(), t.size(), err); });
  }
  // An image alone, and tokens whose V4I_SPECIAL_IMAGE are the images.
  Error append_image(const v4i_image& image) {
    return call([&](v4i_error** err) { return v4i_session_append_image(get(), &image, err); });
  }
  Error append_media(const Tokens& t, const Images& images) {
    return call([&](v4i_error** err) {
      return v4i_session_append_media(get(), t.data(), t.size(), images.data(), images.size(), err);
    });
  }
  // Makes the timeline equal `t` and its images; says how many tokens need no computing.
  Result<std::size_t> sync_media(const Tokens& t, const Images& images) {
    std::size_t reused = 0;
    Error e = call([&](v4i_error** err) {
      return v4i_session_sync_media(get(), t.data(), t.size(), images.data(), images.size(),
                                    &reused, err);
    });
    if (e) return e;
    return reused;
  }
  // Makes the timeline equal `t`; says how many tokens need no computing.
  Result<std::size_t> sync(const Tokens& t) {
    std::size_t reused = 0;
    Error e = call(
        [&](v4i_error** err) { return v4i_session_sync(get(), t.data(), t.size(), &reused, err); });
    if (e) return e;
    return reused;
  }
  Error rewind(std::uint64_t position) {
    return call([&](v4i_error** err) { return v4i_session_rewind(get(), position, err); });
  }
  Result<Session> fork() {
    return detail::make<Session, v4i_session>(
        [&](v4i_session** out, v4i_error** err) { return v4i_session_fork(get(), out, err); });
  }
  Result<Tokens> tokens(std::uint64_t first = 0) const {
    return detail::fill<Tokens>([&](Token* out, std::size_t cap, std::size_t* n, v4i_error** err) {
      return v4i_session_tokens(get(), first, out, cap, n, err);
    });
  }

  // ---- running
  Error set_sampler(const Sampler& p) {
    return call(
        [&](v4i_error** err) { return v4i_session_set_sampler(get(), p.get(), nullptr, err); });
  }
  Error prefill(const v4i_run_options& o = init<v4i_run_options>()) {
    return call([&](v4i_error** err) { return v4i_session_prefill(get(), &o, err); });
  }
  // Pointers inside the step live until the next call on the session.
  Result<v4i_step> step(const v4i_run_options& o = init<v4i_run_options>()) {
    auto out = init<v4i_step>();
    Error e = call([&](v4i_error** err) { return v4i_session_step(get(), &o, &out, err); });
    if (e) return e;
    return out;
  }
  Result<std::string> generate(const v4i_generate_options& o = init<v4i_generate_options>(),
                               std::int32_t* finish = nullptr) {
    return detail::text([&](v4i_buffer** b, v4i_error** err) {
      return v4i_session_generate(get(), &o, b, finish, err);
    });
  }
  // generate() with `on_step(const v4i_step&) -> bool`, true stops.
  template <class OnStep>
  Result<std::string> generate(v4i_generate_options o, OnStep&& on_step,
                               std::int32_t* finish = nullptr) {
    using F = std::remove_reference_t<OnStep>;
    o.on_step = [](v4i_session*, const v4i_step* step, void* user) -> std::int32_t {
      return (*static_cast<F*>(user))(*step) ? 1 : 0;
    };
    o.on_step_user = const_cast<void*>(static_cast<const void*>(std::addressof(on_step)));
    return generate(o, finish);
  }
  // Logits after each of `t`, n rows of the vocabulary.
  Result<std::vector<float>> eval(const Tokens& t, std::size_t vocab,
                                  const v4i_run_options& o = init<v4i_run_options>()) {
    std::vector<float> out(t.size() * vocab);
    Error e = call([&](v4i_error** err) {
      return v4i_session_eval(get(), t.data(), t.size(), &o, out.data(), out.size(), err);
    });
    if (e) return e;
    return out;
  }

  // With images, whose tokens have rows, too: `rows` tokens in all.
  Result<std::vector<float>> eval_media(const Tokens& t, const Images& images, std::size_t rows,
                                        std::size_t vocab,
                                        const v4i_run_options& o = init<v4i_run_options>()) {
    std::vector<float> out(rows * vocab);
    Error e = call([&](v4i_error** err) {
      return v4i_session_eval_media(get(), t.data(), t.size(), images.data(), images.size(), &o,
                                    out.data(), out.size(), err);
    });
    if (e) return e;
    return out;
  }

  // ---- saving: `write(data, bytes) -> bool`, `read(data, bytes) -> size_t`
  template <class Write>
  Error save(Write&& write) {
    using F = std::remove_reference_t<Write>;
    auto w = init<v4i_writer>();
    w.write = [](const void* data, std::size_t bytes, void* user) -> v4i_status {
      return (*static_cast<F*>(user))(data, bytes) ? V4I_OK : V4I_E_IO;
    };
    w.user = const_cast<void*>(static_cast<const void*>(std::addressof(write)));
    return call([&](v4i_error** err) { return v4i_session_save(get(), &w, err); });
  }
  template <class Read>
  static Result<Session> restore(const Model& m, Read&& read,
                                 const v4i_session_options& o = init<v4i_session_options>()) {
    using F = std::remove_reference_t<Read>;
    auto r = init<v4i_reader>();
    r.read = [](void* data, std::size_t bytes, std::size_t* got, void* user) -> v4i_status {
      *got = (*static_cast<F*>(user))(data, bytes);
      return V4I_OK;
    };
    r.user = const_cast<void*>(static_cast<const void*>(std::addressof(read)));
    return detail::make<Session, v4i_session>([&](v4i_session** out, v4i_error** err) {
      return v4i_session_restore(m.get(), &o, &r, out, err);
    });
  }

  // ---- looking inside
  Result<v4i_session_info> info() const {
    auto out = init<v4i_session_info>();
    Error e = call([&](v4i_error** err) { return v4i_session_get_info(get(), &out, err); });
    if (e) return e;
    return out;
  }
  Result<v4i_session_metrics> metrics() const {
    auto out = init<v4i_session_metrics>();
    Error e = call([&](v4i_error** err) { return v4i_session_get_metrics(get(), &out, err); });
    if (e) return e;
    return out;
  }
  struct Logits {
    const float* data;  // valid until the session's next call
    std::size_t count;
  };
  Result<Logits> logits() {
    Logits out{};
    Error e = call(
        [&](v4i_error** err) { return v4i_session_logits(get(), &out.data, &out.count, err); });
    if (e) return e;
    return out;
  }
  Result<std::vector<v4i_token_prob>> top_probs(std::size_t n) {
    std::vector<v4i_token_prob> out(n);
    std::size_t count = 0;
    Error e = call(
        [&](v4i_error** err) { return v4i_session_top_probs(get(), out.data(), n, &count, err); });
    if (e) return e;
    out.resize(count);
    return out;
  }

 private:
  template <class F>
  static Error call(F&& f) {
    return detail::call(std::forward<F>(f));
  }
};

// One batched step; the sessions are of one model.  out and status are as long as s.
inline Error step_many(const std::vector<v4i_session*>& s, std::vector<v4i_step>& out,
                       std::vector<v4i_status>& status,
                       const v4i_run_options& o = init<v4i_run_options>()) {
  out.assign(s.size(), init<v4i_step>());
  status.assign(s.size(), V4I_OK);
  return detail::call([&](v4i_error** err) {
    return v4i_step_many(s.data(), s.size(), &o, out.data(), status.data(), err);
  });
}

}  // namespace v4infer
