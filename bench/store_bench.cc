// The disk tier against the disk: random parts of 4 KiB and whole blocks of 40 KiB (64 rows of
// 584 bytes in pages) through a DiskStore, through the ReadQueue alone, and by pread with O_DIRECT
// on as many threads as the store has reads under way.  Data: 800 MB in TMPDIR or /tmp, past the
// page cache.  Puts: written and in the index, not synced.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "lib/base/error.h"
#include "lib/store/disk_files.h"
#include "lib/store/disk_store.h"

namespace {

using namespace v4i;

constexpr std::size_t kBlock = 40960, kPart = 4096;
constexpr std::uint64_t kBlocks = 20000;

store::BlockKey key_of(std::uint64_t n) {
  store::BlockKey key;
  std::mt19937_64 random(n);
  for (std::size_t i = 0; i < key.bytes.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(&key.bytes[i], &word, sizeof word);
  }
  return key;
}

struct Aligned {
  explicit Aligned(std::size_t bytes) : p(std::aligned_alloc(4096, bytes)) {
    std::memset(p, 1, bytes);
  }
  ~Aligned() { std::free(p); }
  std::byte* data() const { return static_cast<std::byte*>(p); }
  void* p;
};

// A folder with kBlocks blocks, made once, deleted at the end.
class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / "v4i-bench-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) fail(Code::kIo, "{}: cannot be made", path_);
    store_ = store::open_disk_store({path_ + "/tier"}, budget_, reads_);
    Aligned block(kBlock);
    for (std::uint64_t n = 0; n < kBlocks; ++n) {
      std::memcpy(block.data(), &n, sizeof n);
      put(n, {block.data(), kBlock});
    }
    finish_puts();
    ::sync();
    for (const std::uint64_t name : store::list_segments(path_ + "/tier")) {
      const std::string file = store::segment_path(path_ + "/tier", name);
      segments_.push_back(::open(file.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
      sizes_.push_back(std::filesystem::file_size(file));
    }
  }
  ~Folder() {
    for (const int fd : segments_) ::close(fd);
    store_.reset();
    std::filesystem::remove_all(path_);
  }
  static Folder& once() {
    static Folder folder;
    return folder;
  }
  void put(std::uint64_t n, std::span<const std::byte> bytes) {
    keys_.push_back(key_of(n));
    store_->begin_put(keys_.back(), bytes, n + 1);
    ++puts_;
    take_puts(0);
  }
  void finish_puts() {
    while (puts_ > 0) take_puts(1'000'000'000);
  }
  const store::BlockKey& key(std::uint64_t n) const { return keys_[n]; }
  store::BlockStore& store() { return *store_; }
  store::ReadQueue& reads() { return *reads_; }
  // A place in one of the files at a multiple of `bytes`.
  std::pair<int, std::uint64_t> place(std::mt19937_64& random, std::size_t bytes) const {
    const std::size_t i = random() % segments_.size();
    return {segments_[i], random() % (sizes_[i] / bytes) * bytes};
  }

 private:
  void take_puts(std::uint64_t timeout_ns) {
    store::Completion done[32];
    const std::size_t n = store_->poll(done, timeout_ns);
    for (std::size_t i = 0; i < n; ++i)
      if (done[i].status != Code::kOk) fail(Code::kIo, "a put failed");
    puts_ -= n;
  }

  std::string path_;
  std::size_t puts_ = 0;
  std::vector<store::BlockKey> keys_;
  Budget budget_;
  std::shared_ptr<store::ReadQueue> reads_ = std::make_shared<store::ReadQueue>();
  std::unique_ptr<store::BlockStore> store_;
  std::vector<int> segments_;
  std::vector<std::uintmax_t> sizes_;
};

void finish(benchmark::State& state, std::size_t bytes, std::int64_t reads) {
  state.SetItemsProcessed(reads);
  state.SetBytesProcessed(reads * static_cast<std::int64_t>(bytes));
}

// As many reads under way as the argument says.
void through_store(benchmark::State& state, std::size_t bytes) {
  Folder& folder = Folder::once();
  const auto depth = static_cast<std::size_t>(state.range(0));
  const Aligned memory(depth * bytes);
  std::mt19937_64 random(1);
  const auto begin = [&](std::size_t slot) {
    const std::span<std::byte> to(memory.data() + slot * bytes, bytes);
    const store::BlockKey& key = folder.key(random() % kBlocks);
    if (bytes == kBlock)
      folder.store().begin_get(key, to, slot + 1);
    else
      folder.store().begin_get_part(key, random() % (kBlock / kPart) * kPart, to, slot + 1);
  };
  std::vector<store::Completion> done(depth);
  std::int64_t reads = 0, failed = 0;
  std::size_t under_way = 0;
  for (; under_way < depth; ++under_way) begin(under_way);
  for (auto _ : state) {
    const std::size_t n = folder.store().poll(done, 1'000'000'000);
    for (std::size_t i = 0; i < n; ++i) {
      failed += done[i].status == Code::kOk ? 0 : 1;
      begin(done[i].ticket - 1);
    }
    reads += static_cast<std::int64_t>(n);
  }
  while (under_way > 0) under_way -= folder.store().poll(done, 1'000'000'000);
  if (failed > 0) state.SkipWithError(fmt::format("{} of {} reads failed", failed, reads).c_str());
  finish(state, bytes, reads);
}

void through_queue(benchmark::State& state, std::size_t bytes) {
  Folder& folder = Folder::once();
  const auto depth = static_cast<std::size_t>(state.range(0));
  const Aligned memory(depth * bytes);
  std::mt19937_64 random(1);
  std::vector<store::ReadRequest> requests(depth);
  const auto begin = [&](std::size_t slot) {
    store::ReadRequest& r = requests[slot];
    std::tie(r.fd, r.offset) = folder.place(random, bytes);
    r.to = memory.data() + slot * bytes;
    r.bytes = bytes;
    store::ReadRequest* const one[] = {&r};
    folder.reads().submit(one);
  };
  std::int64_t reads = 0;
  for (std::size_t slot = 0; slot < depth; ++slot) begin(slot);
  for (auto _ : state) {
    const std::uint64_t seen = folder.reads().finished();
    folder.reads().progress(1'000'000'000, seen);
    for (std::size_t slot = 0; slot < depth; ++slot) {
      if (!requests[slot].done()) continue;
      if (requests[slot].read != bytes) return state.SkipWithError("a read failed");
      begin(slot);
      ++reads;
    }
  }
  for (store::ReadRequest& r : requests)
    if (!folder.reads().cancel(r)) folder.reads().wait(r, 10'000'000'000);
  finish(state, bytes, reads);
}

void by_pread(benchmark::State& state, std::size_t bytes) {
  Folder& folder = Folder::once();
  const Aligned memory(bytes);
  std::mt19937_64 random(static_cast<unsigned>(state.thread_index()));
  std::int64_t reads = 0;
  for (auto _ : state) {
    const auto [fd, offset] = folder.place(random, bytes);
    if (::pread(fd, memory.data(), bytes, static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(bytes))
      return state.SkipWithError("a read failed");
    ++reads;
  }
  finish(state, bytes, reads);
}

void puts(benchmark::State& state) {
  Folder& folder = Folder::once();
  static std::uint64_t n = kBlocks - 1;
  Aligned block(kBlock);
  for (auto _ : state) folder.put(++n, {block.data(), kBlock});
  folder.finish_puts();
  finish(state, kBlock, state.iterations());
}

void lookups(benchmark::State& state) {
  Folder& folder = Folder::once();
  std::mt19937_64 random(1);
  std::int64_t found = 0;
  for (auto _ : state) found += folder.store().contains(folder.key(random() % kBlocks)) ? 1 : 0;
  if (found != state.iterations()) state.SkipWithError("a block is missing");
  state.SetItemsProcessed(found);
}

BENCHMARK_CAPTURE(through_store, part, kPart)->Arg(1)->Arg(16)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(through_queue, part, kPart)->Arg(1)->Arg(16)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(by_pread, part, kPart)->Threads(1)->Threads(16)->Threads(64)->UseRealTime();
BENCHMARK_CAPTURE(through_store, block, kBlock)->Arg(1)->Arg(16)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(through_queue, block, kBlock)->Arg(1)->Arg(16)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(by_pread, block, kBlock)->Threads(1)->Threads(16)->Threads(64)->UseRealTime();
BENCHMARK(lookups);
BENCHMARK(puts)->UseRealTime();

}  // namespace
