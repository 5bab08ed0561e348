// Staging: pieces of host memory for transfers, of one size, aligned to a page.
//
// Taken once, so that a transfer asks the Budget for nothing.  One thread at a time.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "lib/base/budget.h"

namespace v4i::store {

class Staging {
 public:
  // `most` pieces, or half of that and so on where the Budget has no room, but at least `least`:
  // else Error(kNoMemory).
  Staging(Budget& budget, std::size_t piece_bytes, std::size_t most, std::size_t least);

  class Piece {  // given back when it goes
   public:
    Piece() = default;
    Piece(Piece&& o) noexcept
        : from_(std::exchange(o.from_, nullptr)), data_(std::exchange(o.data_, nullptr)) {}
    Piece& operator=(Piece&& o) noexcept {
      std::swap(from_, o.from_);
      std::swap(data_, o.data_);
      return *this;
    }
    ~Piece() {
      if (from_ != nullptr) from_->free_.push_back(data_);
    }
    explicit operator bool() const { return from_ != nullptr; }
    std::byte* data() const { return data_; }

   private:
    friend class Staging;
    Piece(Staging* from, std::byte* data) : from_(from), data_(data) {}
    Staging* from_ = nullptr;
    std::byte* data_ = nullptr;
  };

  std::size_t piece_bytes() const { return piece_bytes_; }
  std::uint64_t bytes() const { return bytes_.bytes(); }
  bool any() const { return !free_.empty(); }
  Piece take();  // empty when none is free

 private:
  std::size_t piece_bytes_;
  Buffer<std::byte> bytes_;
  std::vector<std::byte*> free_;  // has room for all
};

}  // namespace v4i::store
