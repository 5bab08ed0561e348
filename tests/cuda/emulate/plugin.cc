// The emulated twin of libv4infer-cuda.so: the table of kernels/cuda/plugin.h on the emulator.
//
// Work runs on the calling thread, one call at a time for each device.
#include "kernels/cuda/plugin.h"

#include <cstring>

#include "tests/cuda/emulate/device.h"
#include "tests/cuda/emulate/machine.h"
#include "tests/cuda/emulate/message.h"

namespace v4i::emulate {
namespace {

int answer(int code, const char* sentence) {
  say(sentence);
  return code;
}

// Does it with the device's lock; a Failure becomes V4I_CUDA_FAILED.
template <class Do>
int call(v4i_cuda_device* d, Do&& work) {
  const std::lock_guard lock(d->mutex);
  if (d->lost) return answer(V4I_CUDA_LOST, d->why_lost.c_str());
  try {
    work();
    return V4I_CUDA_OK;
  } catch (const Failure& f) {
    say(f.what());
  } catch (const std::bad_alloc&) {
    return answer(V4I_CUDA_NO_MEMORY, "no memory of the host for the emulator");
  }
  return d->lost ? V4I_CUDA_LOST : V4I_CUDA_FAILED;
}

void lose(v4i_cuda_device* d, const std::string& why) {
  d->lost = true;
  d->why_lost = "the emulated device is lost: " + why;
  throw Failure(d->why_lost);
}

// To the stream, or into the graph that is written down on it.
void give(v4i_cuda_stream* s, Work work) {
  if (s->capture == nullptr) return s->device->issue(s, std::move(work));
  s->capture->work[s->capture->lists.at(s)].push_back(std::move(work));
}

void need_no_capture(const v4i_cuda_stream* s, const char* what) {
  if (s->capture == nullptr) return;
  s->capture->broken = what;
  throw Failure(Message("%s while a graph is written down", what).c_str());
}

int count(int* devices) {
  *devices = 0;
  if (wishes().no_driver) return answer(V4I_CUDA_ABSENT, "there is no emulated driver");
  *devices = static_cast<int>(wishes().devices);
  return V4I_CUDA_OK;
}

int open(int number, v4i_cuda_device** out) {
  *out = nullptr;
  int devices = 0;
  if (const int code = count(&devices); code != V4I_CUDA_OK) return code;
  if (number < 0 || number >= devices)
    return answer(V4I_CUDA_ABSENT, Message("there is no emulated device %d", number).c_str());
  try {
    *out = new v4i_cuda_device(number);
  } catch (const std::bad_alloc&) {
    return answer(V4I_CUDA_NO_MEMORY, "no memory of the host for a device");
  }
  return V4I_CUDA_OK;
}

void close(v4i_cuda_device* d) {
  if (d == nullptr) return;
  call(d, [&] {
    for (v4i_cuda_stream* s : d->streams) d->drain(s, nullptr);
  });
  delete d;
}

int info(v4i_cuda_device* d, v4i_cuda_info* out) {
  return call(d, [&] {
    *out = v4i_cuda_info();
    std::strcpy(out->name, "emulated device");
    std::strcpy(out->target, "emulated");
    out->major = 9;
    out->processors = 4;
    out->memory = wishes().memory;
    out->free = out->memory - std::min(out->memory, d->used);
    out->shared = 99 * 1024;
  });
}

int allocate_any(v4i_cuda_device* d, std::size_t bytes, bool pinned, void** out) {
  *out = nullptr;
  const int code = call(d, [&] {
    if (bytes != 0) *out = d->allocate(bytes, pinned);
  });
  if (code != V4I_CUDA_OK || bytes == 0 || *out != nullptr) return code;
  return answer(V4I_CUDA_NO_MEMORY,
                Message("the emulated device has no memory for %zu bytes", bytes).c_str());
}

int allocate(v4i_cuda_device* d, std::size_t bytes, void** out) {
  return allocate_any(d, bytes, false, out);
}

int allocate_pinned(v4i_cuda_device* d, std::size_t bytes, void** host, void** on_device) {
  const int code = allocate_any(d, bytes, true, host);
  *on_device = *host;
  return code;
}

// Waits for the device, as cuMemFree may.
void release_any(v4i_cuda_device* d, void* p, bool pinned) {
  if (p == nullptr) return;
  call(d, [&] {
    for (v4i_cuda_stream* s : d->streams) d->drain(s, nullptr);
  });
  const std::lock_guard lock(d->mutex);
  if (!d->release(p, pinned)) std::fprintf(stderr, "emulated device: release of %p, unknown\n", p);
}

void release(v4i_cuda_device* d, void* p) { release_any(d, p, false); }
void release_pinned(v4i_cuda_device* d, void* p) { release_any(d, p, true); }

int make_stream(v4i_cuda_device* d, v4i_cuda_stream** out) {
  *out = nullptr;
  return call(d, [&] { d->streams.insert(*out = new v4i_cuda_stream{d, {}, nullptr}); });
}

void drop_stream(v4i_cuda_stream* s) {
  if (s == nullptr) return;
  v4i_cuda_device* d = s->device;
  call(d, [&] { d->drain(s, nullptr); });
  const std::lock_guard lock(d->mutex);
  if (s->capture != nullptr) {
    s->capture->broken = "a stream was dropped";
    s->capture->lists.erase(s);
  }
  d->streams.erase(s);
  delete s;
}

int wait_stream(v4i_cuda_stream* s) {
  return call(s->device, [&] {
    need_no_capture(s, "waiting for a stream");
    s->device->drain(s, nullptr);
  });
}

int make_event(v4i_cuda_device* d, v4i_cuda_event** out) {
  *out = nullptr;
  return call(d, [&] { d->events.insert(*out = new v4i_cuda_event{d, nullptr}); });
}

void drop_event(v4i_cuda_event* e) {
  if (e == nullptr) return;
  const std::lock_guard lock(e->device->mutex);
  e->device->events.erase(e);
  delete e;
}

int record(v4i_cuda_stream* s, v4i_cuda_event* e) {
  return call(s->device, [&] {
    auto m = std::make_shared<Moment>();
    m->stream = s;
    m->graph = s->capture;
    if (s->capture != nullptr) m->number = s->capture->lists.at(s);
    e->last = m;
    give(s, {nullptr, nullptr, m});
  });
}

int follow(v4i_cuda_stream* s, v4i_cuda_event* e) {
  return call(s->device, [&] {
    if (e->last == nullptr) return;
    v4i_cuda_graph* g = e->last->graph;
    if (g != nullptr && s->capture == nullptr) {  // this stream is written down too, from here on
      s->capture = g;
      g->lists.emplace(s, g->work.size());
      g->work.emplace_back();
    } else if (g != s->capture) {
      need_no_capture(s, "following an event of outside of the graph");
      throw Failure("following an event of a graph that has ended");
    }
    give(s, {nullptr, e->last, nullptr});
  });
}

int wait_event(v4i_cuda_event* e) {
  return call(e->device, [&] {
    if (e->last == nullptr || e->last->done) return;
    if (e->last->graph != nullptr) throw Failure("waiting for an event of a graph");
    e->device->drain(e->last->stream, e->last.get());
  });
}

int event_ms(v4i_cuda_event* from, v4i_cuda_event* to, float* ms) {
  return call(from->device, [&] {
    if (from->last == nullptr || to->last == nullptr || !from->last->done || !to->last->done)
      throw Failure("the time between events that have not happened");
    *ms = std::chrono::duration<float, std::milli>(to->last->at - from->last->at).count();
  });
}

int copy(v4i_cuda_stream* s, void* to, const void* from, std::size_t bytes, int direction) {
  v4i_cuda_device* d = s->device;
  return call(d, [&] {
    if (bytes == 0) return;
    if (direction < V4I_CUDA_TO_DEVICE || direction > V4I_CUDA_WITHIN)
      throw Failure("a copy in an unknown direction");
    if (direction != V4I_CUDA_TO_HOST) d->check_range(to, bytes, "copying to");
    if (direction != V4I_CUDA_TO_DEVICE) d->check_range(from, bytes, "copying from");
    const auto now = [=] { std::memcpy(to, from, bytes); };
    const void* host = direction == V4I_CUDA_TO_DEVICE ? from : to;
    if (direction == V4I_CUDA_WITHIN || d->is_pinned(host, bytes)) return give(s, {now, {}, {}});
    need_no_capture(s, "copying memory that is not pinned");
    d->drain(s, nullptr);
    d->execute(now);
  });
}

int fill(v4i_cuda_stream* s, void* to, int byte, std::size_t bytes) {
  return call(s->device, [&] {
    if (bytes == 0) return;
    s->device->check_range(to, bytes, "filling");
    give(s, {[=] { std::memset(to, byte, bytes); }, {}, {}});
  });
}

int look_up_kernel(v4i_cuda_device* d, const char* name, v4i_cuda_kernel** out) {
  return call(d, [&] {
    const Kernel* k = find_kernel(name);
    *out = reinterpret_cast<v4i_cuda_kernel*>(const_cast<Kernel*>(k));
    if (k == nullptr) throw Failure(Message("there is no kernel %s", name).c_str());
  });
}

// What the device does for a launch; args are aligned as a struct may ask for.
void run_launch(v4i_cuda_device* d, const Kernel& k, const Index& blocks, unsigned threads,
                std::size_t shared, const void* args) {
  const Wishes& w = wishes();
  if (w.lose_after >= 0 && d->launches >= w.lose_after) lose(d, "as V4I_EMULATE_LOSE_AFTER asks");
  ++d->launches;
  const std::uint64_t seed = w.seed == 0 ? 0 : w.seed + static_cast<std::uint64_t>(d->launches);
  try {
    Machine::mine().launch(k, blocks, threads, shared, args, seed);
  } catch (const Failure& f) {
    std::fprintf(stderr, "emulated device: %s\n", f.what());
    lose(d, f.what());
  }
}

int launch(v4i_cuda_stream* s, v4i_cuda_kernel* kernel, const std::uint32_t blocks[3],
           std::uint32_t threads, std::size_t shared, const void* args, std::size_t args_bytes) {
  v4i_cuda_device* d = s->device;
  const auto* k = reinterpret_cast<const Kernel*>(kernel);
  return call(d, [&] {
    if (args_bytes != k->args_bytes)
      throw Failure(
          Message("%s takes %zu bytes of arguments, not %zu", k->name, k->args_bytes, args_bytes)
              .c_str());
    const Index grid{blocks[0], blocks[1], blocks[2]};
    Machine::mine().check(*k, grid, threads, shared);
    struct alignas(64) Line {
      unsigned char bytes[64];
    };
    std::vector<Line> copied((args_bytes + sizeof(Line) - 1) / sizeof(Line));
    std::memcpy(copied.data(), args, args_bytes);
    give(s,
         {[=, held = std::move(copied)] { run_launch(d, *k, grid, threads, shared, held.data()); },
          {},
          {}});
  });
}

int begin_capture(v4i_cuda_stream* s) {
  return call(s->device, [&] {
    need_no_capture(s, "beginning a graph");
    auto* g = new v4i_cuda_graph{s->device, {}, {}, {}};
    s->device->graphs.insert(g);
    g->lists.emplace(s, 0);
    g->work.emplace_back();
    s->capture = g;
  });
}

// Lists whose end the first one reaches.
bool joined(const v4i_cuda_graph& g, std::size_t list, std::vector<std::size_t>& reached,
            std::size_t end) {
  while (reached[list] < end) {
    const Work& w = g.work[list][reached[list]++];
    if (w.after == nullptr) continue;
    const auto& other = g.work[w.after->number];
    std::size_t at = 0;
    while (at < other.size() && other[at].moment != w.after) ++at;
    joined(g, w.after->number, reached, std::min(at + 1, other.size()));
  }
  for (std::size_t i = 0; i < g.work.size(); ++i) {
    for (std::size_t at = reached[i]; at < g.work[i].size(); ++at)
      if (g.work[i][at].run) return false;
  }
  return true;
}

void drop_graph(v4i_cuda_graph* g) {
  if (g == nullptr) return;
  v4i_cuda_device* d = g->device;
  call(d, [&] {  // as it may still run
    for (v4i_cuda_stream* s : d->streams) d->drain(s, nullptr);
  });
  const std::lock_guard lock(d->mutex);
  d->graphs.erase(g);
  delete g;
}

int end_capture(v4i_cuda_stream* s, v4i_cuda_graph** out) {
  *out = nullptr;
  return call(s->device, [&] {
    v4i_cuda_graph* g = s->capture;
    if (g == nullptr || g->lists.at(s) != 0) throw Failure("no graph was begun on this stream");
    for (const auto& [stream, list] : g->lists) stream->capture = nullptr;
    g->lists.clear();
    std::vector<std::size_t> reached(g->work.size(), 0);
    const bool all = joined(*g, 0, reached, g->work[0].size());
    if (all && g->broken.empty()) {
      *out = g;
      return;
    }
    const std::string why = all ? g->broken : "work of a stream that is not joined";
    s->device->graphs.erase(g);
    delete g;
    throw Failure("a graph cannot be ended: " + why);
  });
}

int launch_graph(v4i_cuda_stream* s, v4i_cuda_graph* g) {
  return call(s->device, [&] {
    need_no_capture(s, "launching a graph");
    give(s, {[=] { s->device->run_graph(*g); }, {}, {}});
  });
}

v4i_cuda_api table(const char* build_id) {
  return {sizeof(v4i_cuda_api),
          build_id,
          said,
          count,
          open,
          close,
          info,
          allocate,
          release,
          allocate_pinned,
          release_pinned,
          make_stream,
          drop_stream,
          wait_stream,
          make_event,
          drop_event,
          record,
          follow,
          wait_event,
          event_ms,
          copy,
          fill,
          look_up_kernel,
          launch,
          begin_capture,
          end_capture,
          launch_graph,
          drop_graph};
}

}  // namespace
}  // namespace v4i::emulate

// Asks for a fault, as the environment does (README.md): "lose_after", "no_memory_after",
// "no_driver", "devices", "wrong_build_id", "late", "seed", "poison", "memory"; "reset" takes all
// back.  0: not known.
extern "C" __attribute__((visibility("default"))) int v4i_cuda_emulate(const char* what,
                                                                       long value) {
  using v4i::emulate::wishes;
  const auto is = [what](const char* name) { return std::strcmp(what, name) == 0; };
  if (is("reset"))
    wishes() = v4i::emulate::Wishes();
  else if (is("lose_after"))
    wishes().lose_after = value;
  else if (is("no_memory_after"))
    wishes().no_memory_after = value;
  else if (is("no_driver"))
    wishes().no_driver = value != 0;
  else if (is("devices"))
    wishes().devices = value;
  else if (is("wrong_build_id"))
    wishes().wrong_build_id = value != 0;
  else if (is("late"))
    wishes().late = value != 0;
  else if (is("seed"))
    wishes().seed = static_cast<std::uint64_t>(value);
  else if (is("poison"))
    wishes().poison = static_cast<int>(value);
  else if (is("memory"))
    wishes().memory = static_cast<std::uint64_t>(value);
  else
    return 0;
  return 1;
}

extern "C" __attribute__((visibility("default"))) const v4i_cuda_api* v4i_cuda_plugin(void) {
  static const v4i_cuda_api right = v4i::emulate::table(V4I_CUDA_BUILD_ID);
  static const v4i_cuda_api wrong = v4i::emulate::table("of other sources");
  return v4i::emulate::wishes().wrong_build_id ? &wrong : &right;
}
