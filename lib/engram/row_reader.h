// RowReader: parts of rows on their way from the shards.
//
// A part of a row is a few hundred bytes or eight, and files are read in pages of 4096 bytes: so it
// is pages that are read, into buffers of its own, and rows that share one are read once.  There
// are a few hundred buffers; what does not fit waits here, hints behind all else, until pump()
// finds a buffer that is free.
//
// One thread at a time; the owner has a lock.  Receiver is called from pump() alone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/budget.h"
#include "lib/engram/table_files.h"
#include "lib/store/read_queue.h"

namespace v4i::engram {

class RowReader {
 public:
  class Receiver {
   public:
    virtual void arrived(std::size_t layer, std::int32_t row, Part part,
                         const std::byte* bytes) = 0;
    // `error` is an errno, or 0 where the file has ended.
    virtual void failed(std::size_t layer, std::int32_t row, Part part, int error) = 0;

   protected:
    ~Receiver() = default;
  };

  // `most_rows`: that wait at a time, and as many hints.
  RowReader(const TableFiles& files, std::shared_ptr<store::ReadQueue> reads, Budget& budget,
            std::size_t most_rows, Receiver& receiver);
  ~RowReader();  // waits for what is under way
  // What that takes of the Budget.
  static std::uint64_t needs(const RowForm& form, std::size_t most_rows);
  RowReader(const RowReader&) = delete;
  RowReader& operator=(const RowReader&) = delete;

  // Both parts of these rows, rising.  Hints that there is no room for are not taken: how many are
  // is known from room_for_hints().
  void want(std::size_t layer, std::span<const std::int32_t> rows, bool hint);
  std::size_t room_for_hints() const { return hints_.room() / 2; }
  void hurry_hints();  // some of them are wanted now
  void forget();       // what was wanted and has not begun; hints stay

  // Hands out what has arrived and begins to read what there are buffers for.  Never waits.
  void pump();
  // Nothing is under way, and nothing waits.
  bool idle() const { return under_way_.empty() && demand_.empty() && hints_.empty(); }
  std::size_t under_way() const { return under_way_.size(); }
  std::size_t waiting() const { return demand_.size() + hints_.size(); }

  std::uint64_t reads() const { return reads_done_; }
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  struct Wanted {
    std::int32_t row;
    std::uint16_t layer;
    Part part;
  };
  static std::size_t request_bytes(std::size_t most_rows);
  // First in, first out; memory for all of them from the beginning.
  class Queue {
   public:
    explicit Queue(std::size_t most) { items_.reserve(most); }
    bool empty() const { return first_ == items_.size(); }
    std::size_t size() const { return items_.size() - first_; }
    std::size_t room() const { return items_.capacity() - size(); }
    const Wanted& front() const { return items_[first_]; }
    void pop() { ++first_; }
    void push(const Wanted& w);
    void clear() { items_.clear(), first_ = 0; }

   private:
    std::vector<Wanted> items_;
    std::size_t first_ = 0;
  };
  struct Flight {
    static constexpr std::size_t kMostRows = 64;
    store::ReadRequest request;
    std::uint16_t layer = 0;
    Part part = Part::kCodes;
    std::size_t count = 0;
    std::array<std::int32_t, kMostRows> rows{};
  };

  void hand_out(Flight& f);
  void load(Queue& from, Flight& f);
  void begin(Queue& from, bool hint);

  const TableFiles& files_;
  const std::shared_ptr<store::ReadQueue> reads_;
  Receiver& receiver_;
  std::size_t buffer_bytes_;
  Counted counted_;
  Buffer<std::byte> memory_;
  std::unique_ptr<Flight[]> flights_;
  std::vector<Flight*> free_, under_way_;
  Queue demand_, hints_;
  std::uint64_t reads_done_ = 0, bytes_read_ = 0;
};

}  // namespace v4i::engram
