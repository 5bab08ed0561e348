// Owners over the plug-in's table; see device.h.
#include "lib/forward/cuda/device.h"

#include "lib/base/error.h"

namespace v4i::forward::cuda {
namespace {

// Makes a handle of the table.
template <class T>
T* make(const Device& device, int (*v4i_cuda_api::*function)(v4i_cuda_device*, T**)) {
  T* out = nullptr;
  device.check((device.api().*function)(device.handle(), &out));
  return out;
}

Code code_of(int code) {
  return code == V4I_CUDA_ABSENT      ? Code::kUnsupported
         : code == V4I_CUDA_NO_MEMORY ? Code::kNoMemory
                                      : Code::kDevice;
}

const v4i_cuda_api& api_of(const std::shared_ptr<Device>& device) { return device->api(); }

}  // namespace

Device::Device(std::shared_ptr<const Library> library, int number)
    : library_(std::move(library)), name_(fmt::format("cuda:{}", number)) {
  check(api().open(number, &handle_));
  if (const int code = api().info(handle_, &info_); code != V4I_CUDA_OK) {
    const std::string why = api().error();
    api().close(handle_);
    fail(code_of(code), "backend \"{}\": {}", name_, why);
  }
}

std::shared_ptr<Device> Device::open(std::shared_ptr<const Library> library, int number) {
  return std::shared_ptr<Device>(new Device(std::move(library), number));
}

Device::~Device() { api().close(handle_); }

void Device::failed(int code, const char* doing) const {
  fail(code_of(code), "backend \"{}\": {}{}{}", name_, doing, *doing != '\0' ? ": " : "",
       api().error());
}

std::uint64_t Device::free_bytes() const {
  v4i_cuda_info now{};
  check(api().info(handle_, &now));
  return now.free;
}

v4i_cuda_kernel* Device::kernel(const char* name) {
  const std::lock_guard lock(mutex_);
  v4i_cuda_kernel*& known = kernels_[name];
  if (known == nullptr) check(api().find_kernel(handle_, name, &known));
  return known;
}

Event::Event(std::shared_ptr<Device> device)
    : Handle(device, make(*device, &v4i_cuda_api::make_event)) {}

void Event::wait() const { device()->check(api_of(device()).wait_event(get())); }

float Event::milliseconds_since(const Event& from) const {
  float ms = 0;
  device()->check(api_of(device()).event_ms(from.get(), get(), &ms));
  return ms;
}

Stream::Stream(std::shared_ptr<Device> device)
    : Handle(device, make(*device, &v4i_cuda_api::make_stream)) {}

void Stream::wait() const { device()->check(api_of(device()).wait_stream(get())); }

void Stream::record(const Event& event) const {
  device()->check(api_of(device()).record(get(), event.get()));
}

void Stream::follow(const Event& event) const {
  device()->check(api_of(device()).follow(get(), event.get()));
}

void Stream::upload(void* to, const void* from, std::size_t bytes) const {
  device()->check(api_of(device()).copy(get(), to, from, bytes, V4I_CUDA_TO_DEVICE));
}

void Stream::download(void* to, const void* from, std::size_t bytes) const {
  device()->check(api_of(device()).copy(get(), to, from, bytes, V4I_CUDA_TO_HOST));
}

void Stream::copy(void* to, const void* from, std::size_t bytes) const {
  device()->check(api_of(device()).copy(get(), to, from, bytes, V4I_CUDA_WITHIN));
}

void Stream::fill(void* to, int byte, std::size_t bytes) const {
  device()->check(api_of(device()).fill(get(), to, byte, bytes));
}

void Stream::launch_bytes(const kernels::cuda::Launch& launch, const void* args,
                          std::size_t bytes) const {
  v4i_cuda_kernel* kernel = device()->kernel(launch.kernel);
  const std::uint32_t blocks[3] = {launch.x, launch.y, launch.z};
  device()->check(
      api_of(device()).launch(get(), kernel, blocks, launch.threads, launch.shared, args, bytes));
}

void Stream::launch(const Graph& graph) const {
  device()->check(api_of(device()).launch_graph(get(), graph.get()));
}

Capture::Capture(const Stream& stream) : stream_(&stream) {
  stream.device()->check(api_of(stream.device()).begin_capture(stream.get()));
}

Capture::~Capture() {
  if (stream_ == nullptr) return;
  v4i_cuda_graph* unwanted = nullptr;
  const v4i_cuda_api& api = api_of(stream_->device());
  if (api.end_capture(stream_->get(), &unwanted) == V4I_CUDA_OK) api.drop_graph(unwanted);
}

Graph Capture::end() {
  const Stream& stream = *std::exchange(stream_, nullptr);
  v4i_cuda_graph* graph = nullptr;
  stream.device()->check(api_of(stream.device()).end_capture(stream.get(), &graph));
  return Graph(stream.device(), graph);
}

template <Place kPlace>
PlacedBuffer<kPlace>::PlacedBuffer(std::shared_ptr<Device> device, Budget& budget, Use use,
                                   std::size_t bytes, const char* what)
    : device_(std::move(device)), budget_(&budget), bytes_(bytes), use_(use) {
  if (bytes == 0) return;
  budget.take(kPlace, use, bytes, what);
  const v4i_cuda_api& api = api_of(device_);
  void *own = nullptr, *on_device = nullptr;
  const int code = kOnHost ? api.allocate_pinned(device_->handle(), bytes, &own, &on_device)
                           : api.allocate(device_->handle(), bytes, &own);
  if (code != V4I_CUDA_OK) {
    budget.give(kPlace, use, bytes);
    device_->check(code, what);
  }
  own_ = static_cast<std::uint8_t*>(own);
  on_device_ = static_cast<std::uint8_t*>(on_device);
}

template <Place kPlace>
void PlacedBuffer<kPlace>::reset() noexcept {
  if (own_ != nullptr) {
    const v4i_cuda_api& api = api_of(device_);
    (kOnHost ? api.release_pinned : api.release)(device_->handle(), own_);
    budget_->give(kPlace, use_, bytes_);
  }
  own_ = on_device_ = nullptr;
  bytes_ = 0;
  device_.reset();
}

template <Place kPlace>
void PlacedBuffer<kPlace>::swap(PlacedBuffer& o) noexcept {
  std::swap(device_, o.device_);
  std::swap(budget_, o.budget_);
  std::swap(own_, o.own_);
  std::swap(on_device_, o.on_device_);
  std::swap(bytes_, o.bytes_);
  std::swap(use_, o.use_);
}

template class PlacedBuffer<Place::kDevice>;
template class PlacedBuffer<Place::kPinned>;

}  // namespace v4i::forward::cuda
