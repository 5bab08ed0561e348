// State::save and State::restore: the KV state as a stream of checked sections.
//
//   header   magic, version, chain root, digest of the tokens, length, high   | sum
//            version 3: with late_start, for a state where it is not 0
//   fixed    per layer: its window and partial state                          | sum
//   blocks   per table, per block: the rows that are complete                 | sum
//
// Numbers are little-endian.  `sum` is checksum64 of the section, seeded with the
// section's number, so a section cannot stand in for another.  Every size follows
// from the header and the layout: nothing in the stream decides an allocation.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <vector>

#include "lib/base/error.h"
#include "lib/kv/state.h"

namespace v4i::kv {

namespace {

static_assert(std::endian::native == std::endian::little, "the stream is the memory layout");

constexpr std::array<char, 8> kMagic = {'V', '4', 'I', 'K', 'V', 'S', 'T', '\n'};
constexpr std::uint64_t kVersion = 2, kLateVersion = 3;
constexpr std::uint64_t kHeaderSection = 0, kFixedSection = 1;  // and one more a layer

struct Header {
  std::array<char, 8> magic;
  std::uint64_t version;
  Digest root;    // model, numerics, layout
  Digest tokens;  // of the tokens [0, length)
  std::int64_t length, high;
  std::int64_t late_start;  // of kLateVersion
  std::size_t bytes() const { return version == kVersion ? 96 : sizeof(Header); }
};
static_assert(sizeof(Header) == 104, "no padding: the header is written as it is");

// Far from those of the layers.
std::uint64_t block_section(std::size_t table, std::int64_t block) {
  return (static_cast<std::uint64_t>(table) + 1) << 40 | static_cast<std::uint64_t>(block);
}

void write_section(const WriteBytes& write, std::uint64_t section, const void* data,
                   std::size_t bytes) {
  const std::uint64_t sum = checksum64(data, bytes, section);
  write(data, bytes);
  write(&sum, sizeof sum);
}

void read_section(const ReadBytes& read, std::uint64_t section, void* data, std::size_t bytes) {
  std::uint64_t stored = 0;
  read(data, bytes);
  read(&stored, sizeof stored);
  const std::uint64_t sum = checksum64(data, bytes, section);
  if (stored != sum)
    fail(Code::kFormat,
         "saved KV state: section {:#x} of {} bytes has checksum {:016x}, the stream says {:016x}; "
         "it is damaged",
         section, bytes, sum, stored);
}

// The fields that say whether this is a KV state of ours at all, before the checksum
// could call everything else "damaged".
void check_kind(const Header& h) {
  if (h.magic != kMagic)
    fail(Code::kFormat, "saved KV state: found no V4IKVST at its start, this is something else");
  if (h.version != kVersion && h.version != kLateVersion)
    fail(Code::kFormat,
         "saved KV state: found version {}, wanted {} or {}; save it again with this one",
         h.version, kVersion, kLateVersion);
}

Header read_header(const ReadBytes& read) {
  Header h{};
  std::uint64_t sum = 0;
  constexpr std::size_t kFirst = offsetof(Header, late_start);
  read(&h, kFirst);
  check_kind(h);
  if (h.version == kLateVersion) read(&h.late_start, sizeof h.late_start);
  read(&sum, sizeof sum);
  if (sum != checksum64(&h, h.bytes(), kHeaderSection))
    fail(Code::kFormat, "saved KV state: the header does not match its checksum; it is damaged");
  return h;
}

void check_fits(const Header& h, const Digest& root, const Layout& layout, std::size_t tokens) {
  if (h.root != root)
    fail(Code::kFormat,
         "saved KV state: made by another model, numerics or build (found {:.16}, wanted {:.16})",
         to_hex(h.root), to_hex(root));
  if (h.length < 0 || static_cast<std::uint64_t>(h.length) != tokens)
    fail(Code::kFormat, "saved KV state: it holds {} tokens, but {} token ids belong to it",
         h.length, tokens);
  if (h.high < h.length || h.high - h.length > layout.rollback)
    fail(Code::kFormat, "saved KV state: rings written up to {}, wanted {}..{}", h.high, h.length,
         h.length + layout.rollback);
  if (h.late_start < 0 || h.late_start > h.length ||
      (h.late_start > 0) != (h.version == kLateVersion))
    fail(Code::kFormat, "saved KV state: late windows begin at {}, wanted 1..{}", h.late_start,
         h.length);
}

}  // namespace

std::size_t State::fixed_begin(std::size_t layer) const {
  return layer < layout_->layers.size() ? layout_->layers[layer].window_offset
                                        : layout_->fixed_bytes;
}

void State::save(const WriteBytes& write) const {
  V4I_CHECK(pending_ == 0);
  const Header h{kMagic,         late_start_ > 0 ? kLateVersion : kVersion,
                 prefix_.root(), prefix_.digest(length_),
                 length_,        high_,
                 late_start_};
  write_section(write, kHeaderSection, &h, h.bytes());
  std::vector<std::byte> part;
  for (std::size_t l = 0; l < layout_->layers.size(); ++l) {
    part.resize(fixed_begin(l + 1) - fixed_begin(l));
    cache_->memory().download(part.data(), fixed_.data() + fixed_begin(l), part.size());
    write_section(write, kFixedSection + l, part.data(), part.size());
  }
  for (std::size_t t = 0; t < tables_.size(); ++t) save_table(t, write);
}

void State::save_table(std::size_t table, const WriteBytes& write) const {
  const BlockTable& t = tables_[table];
  std::vector<std::byte> part(t.used() ? t.block_bytes() : 0);
  in_blocks(table, 0, length_, [&](std::int64_t r, std::int64_t n) {
    if (!t.read(r, n, *cache_, part.data())) throw LostRows();
    write_section(write, block_section(table, r / layout_->rows_per_block), part.data(),
                  static_cast<std::size_t>(n) * t.row_bytes());
  });
}

void State::restore(const ReadBytes& read, std::span<const std::int32_t> tokens,
                    std::span<const Media> media) {
  V4I_CHECK(pending_ == 0);
  const Header h = read_header(read);
  check_fits(h, prefix_.root(), *layout_, tokens.size());
  State next(layout_, *cache_, Prefix(cache_->budget(), prefix_.root()));
  next.prefix_.reserve(h.length, media.size());
  next.prefix_.append(tokens, media);
  if (next.prefix_.digest(h.length) != h.tokens)
    fail(Code::kFormat, "saved KV state: it was made from other tokens than the {} given",
         tokens.size());
  next.length_ = h.length;
  next.high_ = h.high;
  next.late_start_ = h.late_start;
  std::vector<std::byte> part;
  for (std::size_t l = 0; l < layout_->layers.size(); ++l) {
    part.resize(fixed_begin(l + 1) - fixed_begin(l));
    read_section(read, kFixedSection + l, part.data(), part.size());
    cache_->memory().upload(next.fixed_.data() + fixed_begin(l), part.data(), part.size());
  }
  for (std::size_t t = 0; t < next.tables_.size(); ++t) next.restore_table(t, read);
  next.seal_final_blocks();
  *this = std::move(next);
}

void State::restore_table(std::size_t table, const ReadBytes& read) {
  BlockTable& t = tables_[table];
  std::vector<std::byte> part(t.used() ? t.block_bytes() : 0);
  in_blocks(table, 0, length_, [&](std::int64_t r, std::int64_t n) {
    t.reserve(r, r + n, *cache_);
    const std::size_t bytes = static_cast<std::size_t>(n) * t.row_bytes();
    read_section(read, block_section(table, r / layout_->rows_per_block), part.data(), bytes);
    cache_->memory().upload(t.mutable_row(r), part.data(), bytes);
  });
}

}  // namespace v4i::kv
