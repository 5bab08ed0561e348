// Bpe: merge table, heap, linked list.
#include "lib/tokenizer/bpe.h"

#include <algorithm>
#include <bit>

#include "lib/base/error.h"

namespace v4i::tokenizer {
namespace {

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

std::size_t slot_of(std::uint64_t pair, std::size_t mask) {
  return (pair * 0x9e3779b97f4a7c15u >> 32) & mask;
}

bool later(const Bpe::Candidate& a, const Bpe::Candidate& b) { return a.order > b.order; }

}  // namespace

Bpe::Bpe(const Vocab& vocab, const std::vector<Merge>& merges, const std::string& name)
    : vocab_(vocab), whole_(std::make_unique<std::atomic<std::uint8_t>[]>(vocab.size())) {
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    byte_token_[b] = vocab.find({&c, 1});
    if (byte_token_[b] < 0)
      fail(Code::kFormat, "{}: the vocabulary has no token for byte 0x{:02x}; all 256 are wanted",
           name, b);
  }
  slots_.resize(std::bit_ceil(merges.size() * 2 + 2));
  for (std::size_t i = 0; i < merges.size(); ++i) insert(merges[i], static_cast<std::uint32_t>(i));
}

void Bpe::insert(const Merge& merge, std::uint32_t rank) {
  const std::uint64_t pair = pair_of(merge.left, merge.right);
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = slot_of(pair, mask);
  while (slots_[i].pair != kFree && slots_[i].pair != pair) i = (i + 1) & mask;
  slots_[i] = {pair, rank, merge.result};
}

const Bpe::Slot* Bpe::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = slot_of(pair, mask);; i = (i + 1) & mask) {
    if (slots_[i].pair == pair) return &slots_[i];
    if (slots_[i].pair == kFree) return nullptr;
  }
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& out) const {
  const std::int32_t id = vocab_.find(word);
  if (id >= 0 && whole_[id].load(std::memory_order_relaxed) == kYes) {
    out.push_back(id);
    return;
  }
  merge_all(word, scratch);
  const std::size_t before = out.size();
  for (std::int32_t i = 0; i >= 0; i = scratch.symbols[i].next)
    out.push_back(scratch.symbols[i].id);
  if (id >= 0) {
    const bool whole = out.size() == before + 1 && out.back() == id;
    whole_[id].store(whole ? kYes : kNo, std::memory_order_relaxed);
  }
}

// Puts the pair of symbol `left` and its neighbour on the heap, if it has a merge.
void Bpe::propose(Scratch& s, std::int32_t left) const {
  const std::int32_t right = s.symbols[left].next;
  if (right < 0) return;
  const Slot* slot = find(s.symbols[left].id, s.symbols[right].id);
  if (slot == nullptr) return;
  s.heap.push_back({static_cast<std::uint64_t>(slot->rank) << 32 | static_cast<std::uint32_t>(left),
                    slot->result});
}

void Bpe::merge_all(std::string_view word, Scratch& s) const {
  const auto n = static_cast<std::int32_t>(word.size());
  s.symbols.resize(word.size());
  s.heap.clear();
  for (std::int32_t i = 0; i < n; ++i)
    s.symbols[i] = {byte_token_[static_cast<std::uint8_t>(word[i])], i - 1, i + 1 < n ? i + 1 : -1};
  for (std::int32_t i = 0; i < n; ++i) propose(s, i);
  std::make_heap(s.heap.begin(), s.heap.end(), later);

  while (!s.heap.empty()) {
    std::pop_heap(s.heap.begin(), s.heap.end(), later);
    const Candidate best = s.heap.back();
    s.heap.pop_back();
    const auto left = static_cast<std::int32_t>(best.order & 0xffffffffu);
    Symbol& l = s.symbols[left];
    if (l.id < 0 || l.next < 0) continue;  // merged away since
    const std::int32_t right = l.next;
    // The pair may have changed since; like Hugging Face, go by what it would become.
    const Slot* now = find(l.id, s.symbols[right].id);
    if (now == nullptr || now->result != best.result) continue;
    l.id = best.result;
    l.next = s.symbols[right].next;
    s.symbols[right].id = -1;
    if (l.next >= 0) s.symbols[l.next].prev = left;
    for (const std::int32_t changed : {l.prev, left}) {
      if (changed < 0) continue;
      const std::size_t size = s.heap.size();
      propose(s, changed);
      if (s.heap.size() > size) std::push_heap(s.heap.begin(), s.heap.end(), later);
    }
  }
}

}  // namespace v4i::tokenizer
