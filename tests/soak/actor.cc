// Actor; see actor.h.
#include "tests/soak/actor.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

namespace v4i::soak {

namespace {

constexpr std::size_t kMostSessions = 6;  // of one actor

}  // namespace

v4i_session_options Actor::options() {
  auto o = v4infer::init<v4i_session_options>();
  if (some(8) == 0) return o;  // without tiers
  o.tiers = &store_;
  o.tier_count = 1;
  return o;
}

bool Actor::worked(const v4infer::Error& e, const char* what) {
  ++counts_.calls;
  if (!e) return true;
  if (e.code() != V4I_E_NO_MEMORY || std::strlen(e.message()) < 20)
    give_up(std::string(what) + ": " + v4i_status_name(e.code()) + ": " + e.message());
  ++counts_.refused;
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return false;
}

void Actor::act() {
  if (live_.empty()) return begin();
  switch (some(16)) {
    case 0:
    case 1:
      return live_.size() < kMostSessions ? begin() : drop();
    case 2:
    case 3:
    case 4:
    case 5:
      return extend(any());
    case 6:
    case 7:
    case 8:
      return step(any());
    case 9:
      return step_several();
    case 10:
    case 11:
      return live_.size() < kMostSessions ? fork(any()) : drop();
    case 12:
      return save_and_restore(any());
    case 13:
    case 14:
      return rewind(any());
    default:
      return drop();
  }
}

void Actor::begin() {
  const v4i_session_options o = options();
  v4infer::Result<v4infer::Session> s = v4infer::Session::create(model_, o);
  if (!worked(s.error(), "create")) return drop();
  Live l{*std::move(s), static_cast<int>(some(truth_.stories())), 0};
  auto greedy = v4infer::init<v4i_sampler_options>();
  greedy.greedy = 1;
  const v4infer::Sampler sampler = must(v4infer::Sampler::create(model_, greedy), "a sampler");
  must(l.session.set_sampler(sampler), "set_sampler");
  live_.push_back(std::move(l));
  extend(live_.back());
}

// Long pieces when it is short, so that prompts are taken up from what others have left.
void Actor::extend(Live& l) {
  const std::int64_t room = truth_.tokens() - l.size;
  if (room == 0) return rewind(l);
  const std::int64_t n = 1 + some(some(2) == 0 ? room : std::min<std::int64_t>(room, 300));
  const std::int32_t* from = truth_.story(l.story) + l.size;
  if (!worked(l.session.append(v4infer::Tokens(from, from + n)), "append")) return drop();
  l.size += n;
  prefill(l);
}

void Actor::prefill(Live& l) {
  auto run = v4infer::init<v4i_run_options>();
  run.chunk_tokens = some(3) == 0 ? static_cast<std::int32_t>(1 + some(200)) : 0;
  const bool good = worked(l.session.prefill(run), "prefill");
  check_size(l);
  if (!good) return drop();
  const v4i_session_info info = must(l.session.info(), "info");
  counts_.tokens += info.position;
  counts_.reused += info.reused_tokens;
}

void Actor::said(Live& l, const v4i_step& step) {
  const Said& want = truth_.after(l.story, l.size);
  if (step.token_count != 1 || step.tokens[0] != want.next)
    give_up("after " + std::to_string(l.size) + " tokens of story " + std::to_string(l.story) +
            " token " + std::to_string(step.tokens[0]) + " instead of " +
            std::to_string(want.next));
  ++counts_.checked;
}

void Actor::step(Live& l) {
  if (l.size == truth_.tokens()) return rewind(l);
  const bool good = worked(l.session.prefill(), "prefill before a step");
  if (!good) return drop();
  const float* logits = nullptr;
  std::size_t n = 0;
  if (v4i_session_logits(l.session.get(), &logits, &n, nullptr) == V4I_OK) {
    if (n != vocab_ || hash_of(logits, n) != truth_.after(l.story, l.size).logits)
      give_up("other logits after " + std::to_string(l.size) + " tokens of story " +
              std::to_string(l.story));
    ++counts_.checked;
  } else {
    give_up("no logits after a prefill");
  }
  v4infer::Result<v4i_step> r = l.session.step();
  if (!worked(r.error(), "step")) {
    check_size(l);
    return drop();
  }
  said(l, *r);
  if (!worked(l.session.rewind(static_cast<std::uint64_t>(l.size)), "rewind by one")) drop_longer();
}

void Actor::step_several() {
  std::vector<v4i_session*> sessions;
  std::vector<Live*> some_live;
  for (Live& l : live_)
    if (l.size < truth_.tokens() && sessions.size() < 4) {
      sessions.push_back(l.session.get());
      some_live.push_back(&l);
    }
  std::vector<v4i_step> out;
  std::vector<v4i_status> status;
  if (!worked(v4infer::step_many(sessions, out, status), "step_many")) return drop();
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    Live& l = *some_live[i];
    ++counts_.calls;
    if (status[i] == V4I_E_NO_MEMORY) {
      ++counts_.refused;
      check_size(l);
      continue;
    }
    if (status[i] != V4I_OK) give_up(std::string("step_many: ") + v4i_status_name(status[i]));
    said(l, out[i]);
  }
  for (std::size_t i = 0; i < sessions.size(); ++i)
    if (status[i] == V4I_OK)
      worked(some_live[i]->session.rewind(static_cast<std::uint64_t>(some_live[i]->size)),
             "rewind by one");
  drop_longer();
}

// Sessions that could not be cut back have a token more than their story.
void Actor::drop_longer() {
  std::erase_if(live_, [](Live& l) {
    const v4i_session_info info = must(l.session.info(), "info");
    return info.position + info.pending > static_cast<std::uint64_t>(l.size);
  });
}

void Actor::fork(Live& l) {
  v4infer::Result<v4infer::Session> s = l.session.fork();
  if (!worked(s.error(), "fork")) return drop();
  Live copy{*std::move(s), l.story, l.size};
  check_size(copy);
  live_.push_back(std::move(copy));
}

void Actor::save_and_restore(Live& l) {
  std::FILE* f = std::fopen(file_.c_str(), "w+b");
  if (f == nullptr) give_up(file_ + " cannot be written");
  const auto write = [&](const void* data, std::size_t n) {
    return std::fwrite(data, 1, n, f) == n;
  };
  const bool saved = worked(l.session.save(write), "save");
  check_size(l);
  if (saved) {
    std::rewind(f);
    const v4i_session_options o = options();
    v4infer::Result<v4infer::Session> s = v4infer::Session::restore(
        model_, [&](void* data, std::size_t n) { return std::fread(data, 1, n, f); }, o);
    if (worked(s.error(), "restore")) {
      auto greedy = v4infer::init<v4i_sampler_options>();
      greedy.greedy = 1;
      Live copy{*std::move(s), l.story, l.size};
      must(copy.session.set_sampler(must(v4infer::Sampler::create(model_, greedy), "a sampler")),
           "set_sampler");
      check_size(copy);
      l = std::move(copy);
    }
  }
  std::fclose(f);
  std::remove(file_.c_str());
}

void Actor::rewind(Live& l) {
  const std::int64_t to =
      some(4) == 0 ? 1 + some(l.size) : std::max<std::int64_t>(1, l.size - some(200));
  if (!worked(l.session.rewind(static_cast<std::uint64_t>(to)), "rewind")) return drop();
  l.size = to;
  check_size(l);
}

void Actor::check_size(Live& l) {
  const v4i_session_info info = must(l.session.info(), "info");
  if (info.position + info.pending != static_cast<std::uint64_t>(l.size))
    give_up("a session of " + std::to_string(l.size) + " tokens says " +
            std::to_string(info.position) + " computed, " + std::to_string(info.pending) +
            " pending");
}

// Now and then a session lives on: what was refused may fit later.
void Actor::drop() {
  if (!live_.empty() && some(3) != 0)
    live_.erase(live_.begin() +
                static_cast<std::ptrdiff_t>(some(static_cast<std::int64_t>(live_.size()))));
}

}  // namespace v4i::soak
