// Buffers of tests on a device: pinned host memory that has the same address there.
//
// In front of and behind each buffer lie bytes of a known pattern; damage() finds stores outside of
// buffers by them.  Memory that is given back is kept for the next buffer of its size: the driver
// takes longer to pin memory than a test to run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/forward/cuda/device.h"

namespace v4i::emulate {

class Memory {
 public:
  explicit Memory(forward::cuda::Device& device) : device_(device) {}

  std::uint8_t* take(std::size_t bytes);  // aligned to 256
  void give(void* p) noexcept;
  // What a kernel did outside of the buffers that there are; mended, so that it is told once.
  std::string damage();
  // An address of this process among arguments that is in no buffer, so that no kernel may use it.
  std::string foreign_address(const void* args, std::size_t bytes) const;

 private:
  struct Block {
    std::uint8_t* begin = nullptr;  // of its pattern
    std::size_t size = 0;           // in all
    std::size_t bytes = 0;          // of the buffer
  };
  std::string damage(const Block& b) const;
  bool holds(std::uintptr_t address) const;

  forward::cuda::Device& device_;
  std::map<std::uint8_t*, Block> used_;  // by the buffer's address
  std::map<std::size_t, std::vector<std::uint8_t*>> kept_;
};

}  // namespace v4i::emulate
