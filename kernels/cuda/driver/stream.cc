// Streams and events; see plugin.h.
#include <new>

#include "kernels/cuda/driver/device.h"

namespace v4i::kernels::cuda::driver {
namespace {

// A handle on the heap that `held` remembers, or null.
template <class T>
T* keep(Held& held, const T& value) {
  T* p = new (std::nothrow) T(value);
  if (p != nullptr && !held.add(p)) {
    delete p;
    p = nullptr;
  }
  if (p == nullptr) say("no memory of the host for a handle");
  return p;
}

}  // namespace

int make_stream(v4i_cuda_device* d, v4i_cuda_stream** out) {
  *out = nullptr;
  const Current current(*d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK) return current.code();
  Stream stream = nullptr;
  const int code = answer(*d, d->f.cuStreamCreate(&stream, kStreamNonBlocking), "making a stream");
  if (code != V4I_CUDA_OK) return code;
  *out = keep(d->streams, v4i_cuda_stream{d, stream, false});
  if (*out != nullptr) return V4I_CUDA_OK;
  note(*d, d->f.cuStreamDestroy_v2(stream), "closing a stream");
  return V4I_CUDA_NO_MEMORY;
}

void drop_stream(v4i_cuda_stream* s) {
  if (s == nullptr) return;
  v4i_cuda_device& d = *s->device;
  d.streams.remove(s);
  if (s->capturing) {
    v4i_cuda_graph* graph = nullptr;
    end_capture(s, &graph);
    drop_graph(graph);
  }
  const Current current(d, Current::kUnrecorded);
  if (current.code() == V4I_CUDA_OK) note(d, d.f.cuStreamDestroy_v2(s->stream), "closing a stream");
  delete s;
}

int wait_stream(v4i_cuda_stream* s) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  return answer(d, d.f.cuStreamSynchronize(s->stream), "waiting for a stream");
}

int make_event(v4i_cuda_device* d, v4i_cuda_event** out) {
  *out = nullptr;
  const Current current(*d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK) return current.code();
  Event event = nullptr;
  const int code = answer(*d, d->f.cuEventCreate(&event, 0), "making an event");
  if (code != V4I_CUDA_OK) return code;
  *out = keep(d->events, v4i_cuda_event{d, event});
  if (*out != nullptr) return V4I_CUDA_OK;
  note(*d, d->f.cuEventDestroy_v2(event), "closing an event");
  return V4I_CUDA_NO_MEMORY;
}

void drop_event(v4i_cuda_event* e) {
  if (e == nullptr) return;
  v4i_cuda_device& d = *e->device;
  d.events.remove(e);
  const Current current(d, Current::kUnrecorded);
  if (current.code() == V4I_CUDA_OK) note(d, d.f.cuEventDestroy_v2(e->event), "closing an event");
  delete e;
}

int record(v4i_cuda_stream* s, v4i_cuda_event* e) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  return answer(d, d.f.cuEventRecord(e->event, s->stream), "recording an event");
}

int follow(v4i_cuda_stream* s, v4i_cuda_event* e) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  return answer(d, d.f.cuStreamWaitEvent(s->stream, e->event, 0), "following an event");
}

int wait_event(v4i_cuda_event* e) {
  v4i_cuda_device& d = *e->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  return answer(d, d.f.cuEventSynchronize(e->event), "waiting for an event");
}

int event_ms(v4i_cuda_event* from, v4i_cuda_event* to, float* ms) {
  v4i_cuda_device& d = *from->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  float value = 0;
  const int code = answer(d, d.f.cuEventElapsedTime(&value, from->event, to->event),
                          "asking for the time between events");
  if (code == V4I_CUDA_OK) *ms = value;
  return code;
}

int begin_capture(v4i_cuda_stream* s) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  const auto mode = static_cast<CaptureMode>(kCaptureThreadLocal);
  const int code = answer(d, d.f.cuStreamBeginCapture_v2(s->stream, mode), "beginning a graph");
  if (code == V4I_CUDA_OK) s->capturing = true;
  return code;
}

int end_capture(v4i_cuda_stream* s, v4i_cuda_graph** out) {
  *out = nullptr;
  v4i_cuda_device& d = *s->device;
  s->capturing = false;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  Graph graph = nullptr;
  int code = answer(d, d.f.cuStreamEndCapture(s->stream, &graph), "ending a graph");
  if (code != V4I_CUDA_OK) return code;
  GraphExec made = nullptr;
  code = answer(d, d.f.cuGraphInstantiateWithFlags(&made, graph, 0), "making a graph");
  if (code != V4I_CUDA_LOST) note(d, d.f.cuGraphDestroy(graph), "closing a graph");
  if (code != V4I_CUDA_OK) return code;
  *out = keep(d.graphs, v4i_cuda_graph{&d, made});
  if (*out != nullptr) return V4I_CUDA_OK;
  note(d, d.f.cuGraphExecDestroy(made), "closing a graph");
  return V4I_CUDA_NO_MEMORY;
}

int launch_graph(v4i_cuda_stream* s, v4i_cuda_graph* g) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  return answer(d, d.f.cuGraphLaunch(g->graph, s->stream), "launching a graph");
}

void drop_graph(v4i_cuda_graph* g) {
  if (g == nullptr) return;
  v4i_cuda_device& d = *g->device;
  d.graphs.remove(g);
  const Current current(d, Current::kUnrecorded);
  if (current.code() == V4I_CUDA_OK) note(d, d.f.cuGraphExecDestroy(g->graph), "closing a graph");
  delete g;
}

}  // namespace v4i::kernels::cuda::driver
