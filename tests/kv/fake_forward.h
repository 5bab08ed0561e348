// FakeForward: uses a kv::State exactly as a model does, with hashes for mathematics.
//
// Every window row depends on the token, on the window before it and on all visible
// compressed rows; every compressed row depends on the compressor inputs it covers.
// So one stale, lost or foreign byte anywhere changes all later outputs.
//
// reference() computes the same outputs from plain arrays that keep everything: no
// rings, blocks, chunks or rewinds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/kv/state.h"

namespace v4i::test {

using Tokens = std::vector<std::int32_t>;
using Outputs = std::vector<std::uint64_t>;

// Three layers: window only, rows of `ratio` tokens with overlap and index keys, rows
// of `far_ratio` tokens.
struct FakeShape {
  int ratio = 4, far_ratio = 16, rows_per_block = 4, window = 8, rollback = 5;
  bool packed = true;
};
std::shared_ptr<const kv::Layout> make_layout(FakeShape shape = {});

// Runs begin(), the writes and, unless `abort`, commit().  One output per token.
// `before_end` is called just before the last step.
Outputs run(
    kv::State& state, std::span<const std::int32_t> tokens, bool abort = false,
    const std::function<void()>& before_end = [] {});
// The same in chunks of at most `chunk` tokens, cut where snapshots are due.
Outputs run_chunks(kv::State& state, std::span<const std::int32_t> tokens, std::size_t chunk);

Outputs reference(const kv::Layout& layout, std::span<const std::int32_t> tokens);

// `count` tokens; another `seed`, other tokens.
Tokens make_tokens(std::size_t count, std::uint32_t seed = 1);
// Everything of the state that its length says is readable.
std::uint64_t visible_bytes(const kv::State& state);

std::vector<std::byte> save(const kv::State& state);
// Reads `bytes` from the start; throws Error(kFormat) where they end.
void restore(kv::State& state, std::span<const std::byte> bytes,
             std::span<const std::int32_t> tokens);

}  // namespace v4i::test
