// TopK: the k best of a stream of scores whose rows rise.  Ties go to the lower row.
//
// An entry holds score and row as one integer that sorts by score, then by falling row.  What is
// not better than the k-th best of the entries seen is dropped at sight, so a million scores cost
// a comparison each and a few thousand entries.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>

namespace v4i::forward::cpu {

class TopK {
 public:
  // `room` holds room_for(k) entries.
  static constexpr std::int64_t room_for(std::int64_t k) {
    return k + std::max<std::int64_t>(k, 512);
  }
  TopK() = default;
  TopK(std::uint64_t* room, std::int64_t k) : entries_(room), k_(k), cap_(room_for(k)) {}

  // Scores of rows first, first + 1, ...: above all rows seen before.
  void add(const float* score, std::int64_t count, std::int64_t first) {
    for (std::int64_t j = 0; j < count; ++j)
      if (!full_ || !(score[j] <= bar_)) push(entry(score[j], first + j));
  }

  void add(const TopK& other) {
    for (std::int64_t i = 0; i < other.n_; ++i) push(other.entries_[i]);
  }

  // Leaves no more than the k best; add() may go on.
  void keep_best() {
    if (n_ <= k_) return;
    std::nth_element(entries_, entries_ + k_ - 1, entries_ + n_, std::greater<>());
    n_ = k_;
    full_ = true;
    bar_ = score_of(entries_[k_ - 1]);
  }

  // The rows of the k best, rising; returns how many there are.
  std::int64_t rows(std::int32_t* out) {
    keep_best();
    for (std::int64_t i = 0; i < n_; ++i)
      out[i] = static_cast<std::int32_t>(~static_cast<std::uint32_t>(entries_[i]));
    std::sort(out, out + n_);
    return n_;
  }

 private:
  static std::uint64_t entry(float score, std::int64_t row) {
    const auto u = std::bit_cast<std::uint32_t>(score + 0.0f);  // one zero
    const std::uint32_t rising = (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
    return std::uint64_t{rising} << 32 | ~static_cast<std::uint32_t>(row);
  }
  static float score_of(std::uint64_t entry) {
    const auto rising = static_cast<std::uint32_t>(entry >> 32);
    return std::bit_cast<float>((rising & 0x80000000u) != 0 ? rising & 0x7fffffffu : ~rising);
  }
  void push(std::uint64_t e) {
    if (n_ == cap_) keep_best();
    entries_[n_++] = e;
  }

  std::uint64_t* entries_ = nullptr;
  std::int64_t k_ = 0, cap_ = 0, n_ = 0;
  float bar_ = 0;  // score of the k-th best entry, once there are k
  bool full_ = false;
};

}  // namespace v4i::forward::cpu
