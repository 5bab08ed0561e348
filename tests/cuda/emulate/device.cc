// Memory of the emulated device, and work of its streams and graphs, at once or late.
#include "tests/cuda/emulate/device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "tests/cuda/emulate/message.h"

namespace v4i::emulate {
namespace {

long number_from(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == 0 ? otherwise : std::strtol(text, nullptr, 10);
}

std::string& sentence() {
  static thread_local std::string s;
  return s;
}

constexpr std::size_t kArena = std::size_t{64} << 30;  // addresses

}  // namespace

Wishes& wishes() {
  static Wishes w = [] {
    Wishes from;
    from.lose_after = number_from("V4I_EMULATE_LOSE_AFTER", -1);
    from.no_memory_after = number_from("V4I_EMULATE_NO_MEMORY_AFTER", -1);
    from.no_driver = number_from("V4I_EMULATE_NO_DRIVER", 0) != 0;
    from.devices = number_from("V4I_EMULATE_DEVICES", 1);
    from.wrong_build_id = number_from("V4I_EMULATE_WRONG_BUILD_ID", 0) != 0;
    from.closed = number_from("V4I_EMULATE_CLOSED", 0) != 0;
    from.seed = static_cast<std::uint64_t>(number_from("V4I_EMULATE_SEED", 0));
    from.memory = static_cast<std::uint64_t>(number_from("V4I_EMULATE_MEMORY", 8L << 30));
    from.poison = static_cast<int>(number_from("V4I_EMULATE_POISON", 0xab));
    const char* streams = std::getenv("V4I_EMULATE_STREAMS");
    from.late = streams != nullptr && std::strcmp(streams, "late") == 0;
    return from;
  }();
  return w;
}

void say(const std::string& what) { sentence() = what; }
const char* said() { return sentence().c_str(); }

}  // namespace v4i::emulate

using v4i::emulate::Failure;
using v4i::emulate::Message;
using v4i::emulate::Moment;
using v4i::emulate::wishes;
using v4i::emulate::Work;

v4i_cuda_device::v4i_cuda_device(int n) : number(n) {
  if (!wishes().closed) return;
  void* p = mmap(nullptr, v4i::emulate::kArena, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  arena_ = static_cast<unsigned char*>(p);
}

v4i_cuda_device::~v4i_cuda_device() {
  for (v4i_cuda_stream* s : streams) delete s;
  for (v4i_cuda_event* e : events) delete e;
  for (v4i_cuda_graph* g : graphs) delete g;
  if (arena_ == nullptr)
    for (const auto& [p, bytes] : memory) std::free(const_cast<unsigned char*>(p));
  for (const auto& [p, bytes] : pinned) std::free(const_cast<unsigned char*>(p));
  if (arena_ != nullptr) munmap(arena_, v4i::emulate::kArena);
}

void* v4i_cuda_device::allocate(std::size_t bytes, bool is_for_host) {
  const auto& w = wishes();
  const std::uint64_t limit =
      w.no_memory_after < 0 ? w.memory : std::min<std::uint64_t>(w.memory, w.no_memory_after);
  if (!is_for_host && (bytes > limit || used + bytes > limit)) return nullptr;
  void* p = nullptr;
  if (arena_ != nullptr && !is_for_host) {  // never used again
    const std::size_t step = (bytes + 4095) / 4096 * 4096;
    if (arena_used_ + step > v4i::emulate::kArena) return nullptr;
    p = arena_ + arena_used_;
    arena_used_ += step;
  } else if (posix_memalign(&p, 256, bytes) != 0) {
    return nullptr;
  }
  if (!is_for_host) used += bytes;
  execute([&] { std::memset(p, wishes().poison, bytes); });
  (is_for_host ? pinned : memory).emplace(static_cast<unsigned char*>(p), bytes);
  return p;
}

bool v4i_cuda_device::release(void* p, bool is_for_host) {
  auto& all = is_for_host ? pinned : memory;
  const auto found = all.find(static_cast<unsigned char*>(p));
  if (found == all.end()) return false;
  if (!is_for_host) used -= found->second;
  if (is_for_host || arena_ == nullptr)
    std::free(p);
  else
    madvise(p, (found->second + 4095) / 4096 * 4096, MADV_DONTNEED);
  all.erase(found);
  return true;
}

bool v4i_cuda_device::holds(const std::map<const unsigned char*, std::size_t>& all, const void* p,
                            std::size_t bytes) {
  const auto* from = static_cast<const unsigned char*>(p);
  auto at = all.upper_bound(from);
  if (at == all.begin()) return false;
  --at;
  return from + bytes <= at->first + at->second;
}

void v4i_cuda_device::check_range(const void* p, std::size_t bytes, const char* what) const {
  if (holds(memory, p, bytes) || holds(pinned, p, bytes)) return;
  throw Failure(
      Message("%s %zu bytes at %p, which are not in one allocation of the device", what, bytes, p)
          .c_str());
}

void v4i_cuda_device::execute(const std::function<void()>& run) {
  const bool opens = arena_ != nullptr && open_++ == 0;
  if (opens) mprotect(arena_, arena_used_, PROT_READ | PROT_WRITE);
  const auto close = [&] {
    if (arena_ != nullptr && --open_ == 0) mprotect(arena_, arena_used_, PROT_NONE);
  };
  try {
    run();
  } catch (...) {
    close();
    throw;
  }
  close();
}

static void finish(const Work& w) {
  if (w.moment == nullptr) return;
  w.moment->done = true;
  w.moment->at = v4i::emulate::Clock::now();
}

void v4i_cuda_device::issue(v4i_cuda_stream* s, Work work) {
  s->queue.push_back(std::move(work));
  if (!wishes().late) drain(s, nullptr);
}

// Up to `until`, or all.
void v4i_cuda_device::drain(v4i_cuda_stream* s, const Moment* until) {
  while (!s->queue.empty() && (until == nullptr || !until->done)) {
    const Work w = std::move(s->queue.front());
    s->queue.pop_front();
    if (w.after != nullptr && !w.after->done && w.after->stream != nullptr)
      drain(w.after->stream, w.after.get());
    if (w.run) execute(w.run);
    finish(w);
  }
}

void v4i_cuda_device::drain_list(std::vector<std::vector<Work>>& work,
                                 std::vector<std::size_t>& next, std::size_t list,
                                 const Moment* until) {
  while (next[list] < work[list].size() && (until == nullptr || !until->done)) {
    const Work& w = work[list][next[list]++];
    if (w.after != nullptr && !w.after->done)
      drain_list(work, next, w.after->number, w.after.get());
    if (w.run) execute(w.run);
    finish(w);
  }
}

// Other lists run no further than the first one asks for.
void v4i_cuda_device::run_graph(v4i_cuda_graph& g) {
  for (auto& list : g.work)
    for (Work& w : list)
      if (w.moment != nullptr) w.moment->done = false;
  std::vector<std::size_t> next(g.work.size(), 0);
  drain_list(g.work, next, 0, nullptr);
}
