// What the tests of the disk tier share: a folder, a budget, a queue, and stores on them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/store/disk_files.h"
#include "lib/store/disk_store.h"
#include "tests/store/conformance.h"
#include "tests/support/scratch_folder.h"

namespace v4i::test {

constexpr std::uint64_t kSecond = 1'000'000'000;

struct DiskFixture {
  ScratchFolder scratch;
  std::string folder = scratch.path() + "/tier";
  Budget budget;
  std::shared_ptr<store::ReadQueue> reads = std::make_shared<store::ReadQueue>();
  std::shared_ptr<store::DiskFiles> files = std::make_shared<store::DiskFiles>();

  std::unique_ptr<store::BlockStore> open(std::uint64_t capacity = 0, bool read_only = false) {
    return store::open_disk_store({folder, capacity, read_only}, budget, reads, files);
  }
};

// Polls until this ticket, the only one, is reported; {0} when it is not in time.
store::Completion wait_for(store::BlockStore& store, std::uint64_t ticket,
                           std::uint64_t timeout_ns = 10 * kSecond);
// Block n as of make_block(); its status.
Code put_block(store::BlockStore& store, std::uint64_t n, std::size_t bytes);
// kOk: it came whole.  kInternal: with other bytes.
Code get_block(store::BlockStore& store, std::uint64_t n, std::size_t bytes);
Code get_part(store::BlockStore& store, std::uint64_t n, std::size_t bytes, std::size_t at,
              std::size_t count);

// Memory at a multiple of 4096.
struct Pages {
  explicit Pages(std::size_t bytes) : memory(bytes + 4096) {
    const auto at = reinterpret_cast<std::uintptr_t>(memory.data());
    span = {memory.data() + (4096 - at % 4096) % 4096, bytes};
  }
  std::vector<std::byte> memory;
  std::span<std::byte> span;
};

std::vector<std::string> files_of(const std::string& folder);  // paths, sorted
std::vector<std::string> segments_of(const std::string& folder);

}  // namespace v4i::test
