// HostKvStore; see host_kv_store.h.
#include "lib/capi/host_kv_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/capi/boundary.h"

namespace v4i::capi {

namespace {

static_assert(sizeof(v4i_kv_key) == sizeof(store::BlockKey));

v4i_kv_key key_of(const store::BlockKey& key) {
  v4i_kv_key out;
  std::memcpy(out.bytes, key.bytes.data(), sizeof out.bytes);
  return out;
}

bool is_status(v4i_status s) { return s <= V4I_OK && s >= V4I_E_INTERNAL; }

// Statuses outside the list are failures of input and output.
Code code_of(v4i_status s) { return is_status(s) ? static_cast<Code>(s) : Code::kIo; }

}  // namespace

HostKvStore::HostKvStore(std::shared_ptr<EngineState> engine, const v4i_kv_vtable& table,
                         void* user)
    : engine_(std::move(engine)),
      table_(table),
      name_(table.name != nullptr ? table.name : "KV store"),
      user_(user) {
  table_.name = nullptr;  // the host's text may go
}

HostKvStore::~HostKvStore() {
  quiet([&] {
    if (!tickets_.empty())
      complain(fmt::format("closed with {} tickets that were never reported", tickets_.size()));
    if (table_.close == nullptr || !adopted_) return;
    engine_->gate.run([&] {
      const Inside::Scope inside(engine_->in_store);
      table_.close(user_);
    });
  });
}

template <class Body>
v4i_status HostKvStore::call(const char* function, Body&& body) {
  v4i_status status = V4I_OK;
  std::string thrown;
  engine_->gate.require([&] {
    const Inside::Scope inside(engine_->in_store);
    try {
      status = body();
    } catch (const std::exception& e) {
      thrown = e.what();
      status = V4I_E_INTERNAL;
    } catch (...) {
      thrown = "an exception that is not a std::exception";
      status = V4I_E_INTERNAL;
    }
  });
  if (!thrown.empty()) {
    complain(fmt::format("{} threw: {}", function, thrown));
    fail(Code::kInternal, "{}: {} threw: {}", name_, function, thrown);
  }
  return status;
}

template <class Body>
void HostKvStore::begin(const char* function, std::uint64_t ticket, const Ticket& t, Body&& body) {
  tickets_.emplace(ticket, t);
  v4i_status status = V4I_OK;
  try {
    status = call(function, body);
  } catch (...) {
    tickets_.erase(ticket);
    throw;
  }
  if (status == V4I_OK) return;
  tickets_.erase(ticket);
  if (!is_status(status)) complain(fmt::format("{} returned {}, no status", function, status));
  Code code = code_of(status);
  if (t.get && code == Code::kNoMemory) code = Code::kIo;  // its memory is not the Budget's
  fail(code, "{}: {} returned {}", name_, function, v4i_status_name(status));
}

void HostKvStore::begin_put(const store::BlockKey& key, std::span<const std::byte> bytes,
                            std::uint64_t ticket) {
  const v4i_kv_key k = key_of(key);
  begin("begin_put", ticket, {false, bytes.size()},
        [&] { return table_.begin_put(&k, bytes.data(), bytes.size(), ticket, user_); });
}

void HostKvStore::begin_get(const store::BlockKey& key, std::span<std::byte> bytes,
                            std::uint64_t ticket) {
  const v4i_kv_key k = key_of(key);
  begin("begin_get", ticket, {true, bytes.size()},
        [&] { return table_.begin_get(&k, bytes.data(), bytes.size(), ticket, user_); });
}

void HostKvStore::begin_get_part(const store::BlockKey& key, std::uint64_t at,
                                 std::span<std::byte> bytes, std::uint64_t ticket) {
  if (!reads_parts()) return BlockStore::begin_get_part(key, at, bytes, ticket);
  const v4i_kv_key k = key_of(key);
  begin("begin_get_part", ticket, {true, bytes.size()},
        [&] { return table_.begin_get_part(&k, at, bytes.data(), bytes.size(), ticket, user_); });
}

std::size_t HostKvStore::poll(std::span<store::Completion> out, std::uint64_t timeout_ns) try {
  constexpr std::size_t kSpare = 16;  // for a store that writes more than it may
  done_.assign(out.size() + kSpare, {});
  std::size_t count = 0;
  const v4i_status status = call(
      "poll", [&] { return table_.poll(done_.data(), out.size(), &count, timeout_ns, user_); });
  if (status != V4I_OK) {
    complain(fmt::format("poll returned {}", v4i_status_name(status)));
    return 0;
  }
  if (count > out.size()) {
    complain(fmt::format("poll reported {} tickets into room for {}", count, out.size()));
    count = out.size();
  }
  std::size_t n = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const store::Completion c = checked(done_[i]);
    if (tickets_.erase(c.ticket) > 0)
      out[n++] = c;
    else
      complain(fmt::format("poll reported ticket {}, which it does not have", c.ticket));
  }
  return n;
} catch (const Error&) {  // counted
  return 0;
}

store::Completion HostKvStore::checked(const v4i_kv_done& done) {
  store::Completion c{done.ticket, code_of(done.status), done.bytes};
  const auto it = tickets_.find(done.ticket);
  if (it == tickets_.end()) return c;
  if (!is_status(done.status)) {
    complain(fmt::format("poll reported status {}, which is none", done.status));
  } else if (it->second.get && c.status == Code::kOk && c.bytes > it->second.bytes) {
    complain(fmt::format("poll reported {} bytes read into {}", c.bytes, it->second.bytes));
    c.status = Code::kIo;
  } else if (c.status != Code::kOk && c.status != Code::kState && c.status != Code::kInvalid) {
    ++errors_;
    if (it->second.get && c.status == Code::kNoMemory) c.status = Code::kIo;  // as in begin()
  }
  return c;
}

bool HostKvStore::contains(const store::BlockKey& key) try {
  const v4i_kv_key k = key_of(key);
  std::int32_t yes = 0;
  const v4i_status status = call("contains", [&] { return table_.contains(&k, &yes, user_); });
  if (status == V4I_OK) return yes != 0;
  if (status != V4I_E_STATE) complain(fmt::format("contains returned {}", v4i_status_name(status)));
  return false;
} catch (const Error&) {
  return false;
}

void HostKvStore::erase(const store::BlockKey& key) try {
  const v4i_kv_key k = key_of(key);
  const v4i_status status = call("erase", [&] { return table_.erase(&k, user_); });
  if (status != V4I_OK && status != V4I_E_STATE)
    complain(fmt::format("erase returned {}", v4i_status_name(status)));
} catch (const Error&) {
}

// Into the log, a few times: a store that has begun to fail may do so at every block.
void HostKvStore::complain(std::string text) {
  constexpr std::uint64_t kLines = 8;
  if (++errors_ <= kLines)
    engine_->log.add(V4I_LOG_WARN, "kv_store",
                     fmt::format("{}: {}{}", name_, text,
                                 errors_ == kLines ? "; its further errors are only counted" : ""));
}

}  // namespace v4i::capi
