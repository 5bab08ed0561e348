// See scheduler.h.
#include "lib/session/scheduler.h"

#include <algorithm>
#include <functional>
#include <new>

#include "lib/base/error.h"

namespace v4i::session {

template <class Body>
void Scheduler::guard(Seat* seat, Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    seat->status = e.code();
    seat->message = e.text();
  } catch (const std::bad_alloc&) {
    seat->status = Code::kNoMemory;
    seat->message = "out of memory";
  }
}

Scheduler::Scheduler(std::span<Session* const> sessions, const RunOptions& options)
    : options_(options), seats_(sessions.size()) {
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    if (sessions[i] == nullptr) fail(Code::kInvalid, "session {} is null", i);
    if (&sessions[i]->context() != &sessions[0]->context())
      fail(Code::kInvalid, "session {} is of another model than session 0", i);
    seats_[i].session = sessions[i];
  }
  std::vector<Session*> sorted(sessions.begin(), sessions.end());
  std::sort(sorted.begin(), sorted.end(), std::less<>());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    fail(Code::kInvalid, "a session is there twice: it can take one step at a time");
  if (sessions.empty()) return;
  chunk_ = sessions[0]->chunk_size(options);
  batch_ = sessions[0]->context().forward().options().max_tokens;
}

void Scheduler::step(std::span<Step> out, std::span<Code> status,
                     std::vector<std::string>* messages) {
  prepare();
  compute_prompts();
  compute_last();
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    Seat& seat = seats_[i];
    if (seat.live()) guard(&seat, [&] { out[i] = seat.session->sample_next(); });
    status[i] = seat.status;
  }
  if (messages == nullptr) return;
  messages->clear();
  for (Seat& seat : seats_) messages->push_back(std::move(seat.message));
}

void Scheduler::prepare() {
  for (Seat& seat : seats_) {
    guard(&seat, [&] { seat.session->check_can_step(); });
    if (!seat.live()) continue;
    guard(&seat, [&] { seat.session->take_up(options_.cancel); });
    guard(&seat, [&] {  // of replayed prompts, each alone
      while (seat.live() && seat.session->rows_ahead() > 0)
        seat.session->compute_rows(chunk_, options_);
    });
    if (!seat.live()) continue;
    seat.decode = seat.session->pending() == 1;
    seat.session->open_turn();
  }
}

// Shares of prompts, all but their last tokens, until the batch is full.
bool Scheduler::gather_prompts(std::vector<Share>* batch) {
  batch->clear();
  std::int64_t room = batch_;
  for (Seat& seat : seats_) {
    const std::int64_t rest = seat.session->pending() - 1;
    const std::int64_t most = std::min({rest, static_cast<std::int64_t>(chunk_), room});
    if (!seat.live() || most <= 0) continue;
    const std::int64_t n = seat.session->state_.chunk_length(most, rest - most);
    batch->push_back({&seat, n, seat.session->position()});
    room -= n;
  }
  return !batch->empty();
}

void Scheduler::compute_prompts() {
  std::uint64_t done = 0, total = 0;
  for (const Seat& seat : seats_)
    if (seat.live() && seat.session->pending() > 1)
      total += static_cast<std::uint64_t>(seat.session->pending() - 1);
  std::vector<Share> batch;
  while (gather_prompts(&batch)) {
    run(batch, false);
    for (const Share& s : batch) done += static_cast<std::uint64_t>(s.tokens);
    if (options_.progress && options_.progress(done, total))
      fail_live(Code::kCancelled, "cancelled by the progress callback");
  }
}

void Scheduler::compute_last() {
  std::vector<Share> batch;
  for (Seat& seat : seats_) {
    if (!seat.live() || seat.session->pending() == 0) continue;
    batch.push_back({&seat, 1, seat.session->position()});
  }
  const auto most = static_cast<std::size_t>(batch_);
  for (std::size_t i = 0; i < batch.size(); i += most) {
    const auto group = std::span(batch).subspan(i, std::min(most, batch.size() - i));
    if (group[0].seat->live()) run(group, true);  // a cancel ends them all
  }
}

void Scheduler::run(std::span<const Share> batch, bool logits) {
  Seat together;
  guard(&together, [&] { forward(batch, logits); });
  if (together.live()) return;
  if (together.status == Code::kCancelled) {
    fail_live(together.status, together.message);
  } else if (batch.size() == 1) {
    batch[0].seat->status = together.status;
    batch[0].seat->message = together.message;
  } else {
    for (const Share& s : batch) {
      if (!s.seat->live()) continue;
      if (s.seat->session->position() == s.position) {
        run({&s, 1}, logits);
      } else {  // a replay of lost rows failed half way
        s.seat->status = together.status;
        s.seat->message = together.message;
      }
    }
  }
}

void Scheduler::forward(std::span<const Share> batch, bool logits) {
  const auto start = Session::Clock::now();
  items_.clear();
  sessions_.clear();
  bool profiled = false;
  for (const Share& s : batch) {
    Session& session = *s.seat->session;
    profiled |= session.options_.profile;
    sessions_.push_back(&session);
    session.encode_images(s.tokens, options_.cancel);
    items_.push_back(session.item(s.tokens, logits ? session.logits_.data() : nullptr, false));
  }
  forward::Profile profile;
  Session::run(sessions_, items_, options_.cancel, profiled ? &profile : nullptr);
  for (const Share& s : batch)
    if (s.seat->session->options_.profile) s.seat->session->profile_.add(profile);
  for (const Share& s : batch) s.seat->session->computed(s.tokens, logits, s.seat->decode, start);
}

void Scheduler::fail_live(Code code, const std::string& message) {
  for (Seat& seat : seats_) {
    if (!seat.live()) continue;
    seat.status = code;
    seat.message = message;
  }
}

void step_many(std::span<Session* const> sessions, const RunOptions& options, std::span<Step> out,
               std::span<Code> status, std::vector<std::string>* messages) {
  if (out.size() < sessions.size() || status.size() < sessions.size())
    fail(Code::kInvalid, "{} sessions need {} steps and statuses, there is room for {} and {}",
         sessions.size(), sessions.size(), out.size(), status.size());
  Scheduler(sessions, options).step(out, status, messages);
}

}  // namespace v4i::session
