// The loops behind Peaks: one thread reading memory, one thread multiplying.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cli {

struct PeakLoops {
  // Reads every byte; the result depends on all of them.
  std::uint64_t (*read)(const std::byte* data, std::size_t bytes);
  // `rounds` of independent multiply-adds on registers; returns how many flops.
  double (*flops)(std::int64_t rounds);
  const char* flops_kind;
};

PeakLoops peak_loops();  // the widest that this processor has

}  // namespace cli
